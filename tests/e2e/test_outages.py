"""Outages of servers during questions and documents: good answers return with the server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.model_server import ModelServer, model_server, quotes
from tests.ports import free_port
from tests.postgres import PostgresServer
from tests.qdrant_grpc import grpc_port
from tests.qdrant_shards import ShardedClient
from tests.rabbitmq import rabbit_server
from tests.redis_server import redis_server
from tests.servers import Json, serving, submit, wait_for, working

PROMPT = 1.0
"""Seconds from the return to the first good answer."""
AWAY = [
    pytest.param(1.5, id="a moment"),
    pytest.param(20.0, id="20 s", marks=pytest.mark.attack),
    pytest.param(60.0, id="60 s", marks=pytest.mark.attack),
]
PAUSE = 0.1
"""Seconds between a client's requests."""
Request = Callable[[httpx.Client], bool]


@dataclass
class Client:
    """Sends requests repeatedly and notes the times of good and bad answers."""

    url: str
    request: Request
    good: list[float] = field(default_factory=list)
    bad: list[float] = field(default_factory=list)
    leave: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=60) as http:
            while not self.leave.wait(PAUSE):
                noted = self.good if self.request(http) else self.bad
                noted.append(time.monotonic())


@contextlib.contextmanager
def asking(url: str, *requests: Request) -> Iterator[list[Client]]:
    """Runs a client for each kind of request."""
    clients = [Client(url, request) for request in requests]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        for client in clients:
            client.leave.set()
        for thread in threads:
            thread.join()


def back_within(
    url: str,
    *requests: Request,
    away: float,
    stop: Callable[[], None],
    start: Callable[[], None],
    accepts: Callable[[], bool],
) -> None:
    """Checks that every kind of request succeeds soon after the server accepts connections."""
    with asking(url, *requests) as clients:
        for client in clients:
            wait_for(lambda c=client: bool(c.good))  # type: ignore[misc]
        stop()
        time.sleep(away)
        start()
        wait_for(accepts, pause=0.005)
        returned = time.monotonic()
        for client in clients:
            wait_for(lambda c=client: c.good[-1] > returned, pause=0.005)  # type: ignore[misc]
        seconds = [next(at for at in c.good if at > returned) - returned for c in clients]
    print(f"away {away:g} s; good again after", *(f"{s:.2f} s" for s in seconds))
    if away >= 20:
        assert max(seconds) < PROMPT, seconds


def accepts(url: str) -> Callable[[], bool]:
    """Returns a check that is true if a server accepts connections."""
    place = urlsplit(url)

    def look() -> bool:
        with (
            contextlib.suppress(OSError),
            socket.create_connection((str(place.hostname), int(place.port or 0)), 1),
        ):
            return True
        return False

    return look


def query(http: httpx.Client) -> bool:
    """Asks a question; True if the answer is complete."""
    asked = http.post("/v1/query", json={"query": "Who keeps the lamp burning?"})
    return asked.status_code == 200 and not asked.json()["degraded"]


LAMP = {"id": "lamp", "text": "The keeper Ada keeps the lamp burning at night. " * 3}


class Documents:
    """Submits a document and waits for it; true if it succeeds in time."""

    def __init__(self, *, patience: float = 90.0) -> None:
        self._count = 0
        self._patience = patience

    def __call__(self, http: httpx.Client) -> bool:
        self._count += 1
        document = {"id": f"d{self._count}", "text": f"Ada lit {self._count} lamps."}
        accepted = http.post("/v1/documents", json={"documents": [document]})
        if accepted.status_code != 202:
            return False
        until = time.monotonic() + self._patience
        while time.monotonic() < until:
            job: Json = http.get(f"/v1/jobs/{accepted.json()['job_id']}").json()
            if job.get("state") not in ("pending", "running"):
                return bool(job.get("state") == "succeeded")
            time.sleep(0.02)
        return False


@pytest.mark.parametrize("away", AWAY)
def test_postgres(tmp_path: Path, away: float) -> None:
    import asyncpg

    with PostgresServer.started() as server:
        url = server.new_database()

        async def connect() -> None:
            connection = await asyncpg.connect(url, timeout=1)
            await connection.close()

        def answers() -> bool:
            with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError):
                asyncio.run(connect())
                return True
            return False

        def start() -> None:
            threading.Thread(target=server.start).start()

        settings = {"RAG_CATALOG__KIND": "postgres", "RAG_CATALOG__URL": url}
        with serving(tmp_path / "data", env=settings) as api, api.client() as http:
            submit(http, LAMP)
            back_within(
                api.url,
                query,
                Documents(patience=5),
                away=away,
                stop=server.stop,
                start=start,
                accepts=answers,
            )


@pytest.mark.anyio
@pytest.mark.parametrize("away", AWAY)
@pytest.mark.parametrize("broker", [redis_server, rabbit_server])
async def test_broker(
    tmp_path: Path, postgres: PostgresServer, broker: Callable[[Path], Any], away: float
) -> None:
    async with grpc_port() as port:
        with broker(tmp_path / "broker") as server:
            settings = {
                "RAG_INDEX__KIND": "qdrant",
                "RAG_INDEX__URL": f"http://127.0.0.1:{port}",
                "RAG_INDEX__GRPC_PORT": str(port),
                "RAG_CATALOG__KIND": "postgres",
                "RAG_CATALOG__URL": postgres.new_database(),
                "RAG_QUEUE__KIND": "celery",
                "RAG_QUEUE__BROKER_URL": server.url,
            }
            # In a thread: the index answers on this event loop.
            await asyncio.to_thread(_broker_away, tmp_path / "data", settings, server, away)


def _broker_away(data: Path, settings: Mapping[str, str], broker: Any, away: float) -> None:
    wait_for(accepts(broker.url))
    with working(data, settings), serving(data, env=settings) as api, api.client() as http:
        submit(http, LAMP)
        back_within(
            api.url,
            query,
            Documents(),
            away=away,
            stop=broker.kill,
            start=lambda: threading.Thread(target=broker.start).start(),
            accepts=accepts(broker.url),
        )


@pytest.mark.anyio
@pytest.mark.parametrize("away", AWAY[1:])
async def test_qdrant(tmp_path: Path, away: float) -> None:
    port, stored = free_port(), ShardedClient()
    settings = {
        "RAG_INDEX__KIND": "qdrant",
        "RAG_INDEX__URL": f"http://127.0.0.1:{port}",
        "RAG_INDEX__GRPC_PORT": str(port),
    }
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as running:

        async def listen() -> None:
            await running.enter_async_context(grpc_port(at=port, stored=stored))

        def now(work: Coroutine[Any, Any, None]) -> None:
            asyncio.run_coroutine_threadsafe(work, loop).result()

        def ask() -> None:
            with serving(tmp_path / "data", env=settings) as api, api.client() as http:
                submit(http, LAMP)
                back_within(
                    api.url,
                    query,
                    away=away,
                    stop=lambda: now(running.aclose()),
                    start=lambda: now(listen()),
                    accepts=accepts(f"http://127.0.0.1:{port}"),
                )

        await listen()
        await asyncio.to_thread(ask)  # the index answers on this event loop
    await stored.close()


@pytest.mark.parametrize("fallback", [False, True], ids=["alone", "with a fallback"])
@pytest.mark.parametrize("away", AWAY)
def test_language_model(tmp_path: Path, away: float, fallback: bool) -> None:
    port = free_port()
    settings = {
        "RAG_GENERATOR__KIND": "openai",
        "RAG_GENERATOR__BASE_URL": f"http://127.0.0.1:{port}/v1",
        "RAG_GENERATOR__MODEL": "m",
    }
    if fallback:
        settings["RAG_FALLBACKS"] = '[{"kind": "extractive"}]'
    _http_away(tmp_path, away, port, settings, quotes())


@pytest.mark.parametrize("away", AWAY)
def test_reranker(tmp_path: Path, away: float) -> None:
    port = free_port()
    settings = {
        "RAG_RERANKER__KIND": "http",
        "RAG_RERANKER__URL": f"http://127.0.0.1:{port}/v1/rerank",
    }
    _http_away(tmp_path, away, port, settings, scores)


def scores(handler: BaseHTTPRequestHandler) -> None:
    """Answers as a reranker."""
    state: ModelServer = handler.server_state  # type: ignore[attr-defined]
    texts = state.requests[-1]["documents"]
    results = [{"index": n, "relevance_score": 1 / (n + 1)} for n in range(len(texts))]
    body = json.dumps({"results": results}).encode()
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def _http_away(
    folder: Path,
    away: float,
    port: int,
    settings: Mapping[str, str],
    script: Callable[[BaseHTTPRequestHandler], None],
) -> None:
    with contextlib.ExitStack() as running:
        running.enter_context(model_server(script, at=port))
        with serving(folder / "data", env=settings) as api, api.client() as http:
            submit(http, LAMP)
            back_within(
                api.url,
                query,
                away=away,
                stop=running.close,
                start=lambda: _started(running, script, port),
                accepts=accepts(f"http://127.0.0.1:{port}"),
            )


def _started(
    running: contextlib.ExitStack, script: Callable[[BaseHTTPRequestHandler], None], port: int
) -> None:
    running.enter_context(model_server(script, at=port))
