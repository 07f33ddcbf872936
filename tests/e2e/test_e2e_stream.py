"""Clients that disconnect, and answers that fail while streaming: a real uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest
import uvicorn
from starlette.types import Message

from rag.api.app import app_without_lifespan
from rag.api.deps import Running
from rag.api.sse import response, with_heartbeats
from rag.errors import UpstreamError
from rag.pipeline.query import Event
from rag.rollouts.observations import Observations
from rag.rollouts.router import Router
from rag.settings.tree import Settings
from tests.fakes import service_of

if TYPE_CHECKING:
    from rag.catalog.collections import Collections

SECONDS = 30
QUESTION = {"query": "Is anybody there?"}


class Hanging:
    """A pipeline that runs until it is cancelled."""

    def __init__(self) -> None:
        self.begun, self.stopped = threading.Event(), threading.Event()

    async def search(self, *_: Any) -> tuple[()]:
        await self._work()
        return ()

    answer = search

    async def stream(self, *_: Any) -> AsyncIterator[Event]:
        yield ()
        yield "One token"
        await self._work()

    async def _work(self) -> None:
        self.begun.set()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            self.stopped.set()
            raise


class HangingAtOnce(Hanging):
    """Hangs before it streams anything."""

    async def stream(self, *_: Any) -> AsyncIterator[Event]:
        await self._work()
        yield ()


class Failing:
    """A pipeline that fails; its stream fails after the first events."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def search(self, *_: Any) -> tuple[()]:
        raise self._error

    answer = search

    async def stream(self, *_: Any) -> AsyncIterator[Event]:
        yield ()
        yield "One token"
        raise self._error


@contextlib.contextmanager
def serving(pipeline: object) -> Iterator[str]:
    """Serves the app with a pipeline in a thread; yields its URL."""
    settings = Settings()
    router = Router(Observations(), cast("Collections", None))  # without rollouts it asks nothing
    service = service_of(settings=settings, query=pipeline, router=router)
    app = app_without_lifespan(settings, Running(opened=service))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", ws="none"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(SECONDS)
            assert not thread.is_alive()


def call(url: str, path: str, body: dict[str, Any]) -> socket.socket:
    """Sends a request without reading the answer; returns the connection."""
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), SECONDS)
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    return connection


class TestHangUp:
    @pytest.mark.parametrize(
        ("path", "body", "kind"),
        [
            ("/v1/search", QUESTION, Hanging),
            ("/v1/query", QUESTION, Hanging),
            ("/v1/query", QUESTION | {"stream": True}, HangingAtOnce),
        ],
    )
    def test_before_the_answer(self, path: str, body: dict[str, Any], kind: type[Hanging]) -> None:
        pipeline = kind()
        with serving(pipeline) as url:
            with call(url, path, body):
                assert pipeline.begun.wait(SECONDS)
                assert not pipeline.stopped.wait(0.2)
            assert pipeline.stopped.wait(SECONDS)
            assert httpx.get(f"{url}/healthz").status_code == 200

    def test_amid_a_stream(self) -> None:
        pipeline = Hanging()
        with serving(pipeline) as url:
            with httpx.stream("POST", f"{url}/v1/query", json=QUESTION | {"stream": True}) as sent:
                lines = sent.iter_lines()
                seen = [next(lines) for _ in range(4)]
                assert seen[0] == "event: hits"
                assert seen[3] == "event: token"
                assert pipeline.begun.wait(SECONDS)
                assert not pipeline.stopped.is_set()
            assert pipeline.stopped.wait(SECONDS)

    def test_one_of_two(self) -> None:
        """The client that stays connected is still served."""
        pipeline = Hanging()
        with serving(pipeline) as url, call(url, "/v1/search", QUESTION) as stays:
            assert pipeline.begun.wait(SECONDS)
            stays.settimeout(0.3)
            with pytest.raises(TimeoutError):
                stays.recv(1)
            assert not pipeline.stopped.is_set()


class TestFailures:
    def test_foreseen_in_a_stream(self) -> None:
        error = UpstreamError("The generator is away.", code="generator_away")
        with serving(Failing(error)) as url:
            response = httpx.post(f"{url}/v1/query", json=QUESTION | {"stream": True})
        problem = self.last_event(response)
        assert (problem["code"], problem["status"]) == ("generator_away", 503)
        assert problem["request_id"] == response.headers["x-request-id"]

    def test_unforeseen_in_a_stream(self) -> None:
        with serving(Failing(ValueError("secret"))) as url:
            response = httpx.post(f"{url}/v1/query", json=QUESTION | {"stream": True})
        problem = self.last_event(response)
        assert (problem["code"], problem["status"]) == ("internal", 500)
        assert "secret" not in response.text

    def test_foreseen(self) -> None:
        with serving(Failing(UpstreamError("It is away.", code="away"))) as url:
            response = httpx.post(f"{url}/v1/search", json=QUESTION)
        assert response.status_code == 503
        assert response.headers["retry-after"]
        assert response.json()["code"] == "away"

    def test_unforeseen(self) -> None:
        with serving(Failing(ValueError("secret"))) as url:
            headers = {"X-Request-ID": "mine"}
            response = httpx.post(f"{url}/v1/search", json=QUESTION, headers=headers)
        assert response.status_code == 500
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["x-request-id"] == response.json()["request_id"] == "mine"
        assert response.json()["code"] == "internal"
        assert "secret" not in response.text

    @staticmethod
    def last_event(response: httpx.Response) -> dict[str, Any]:
        assert response.status_code == 200
        name, data = response.text.rstrip().split("\n\n")[-1].split("\n")
        assert name == "event: error"
        problem: dict[str, Any] = json.loads(data.removeprefix("data: "))
        return problem


class TestNotLoaded:
    @pytest.mark.anyio
    async def test_503(self) -> None:
        transport = httpx.ASGITransport(app=app_without_lifespan(Settings(), Running()))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            assert (await http.get("/healthz")).status_code == 200
            for request in (http.get("/readyz"), http.post("/v1/search", json=QUESTION)):
                response = await request
                assert (response.status_code, response.json()["code"]) == (503, "loading")
                assert response.headers["retry-after"]


@pytest.mark.anyio
class TestHeartbeats:
    async def test_comments_while_nothing_comes(self) -> None:
        more = asyncio.Event()

        async def events() -> AsyncGenerator[bytes, None]:
            yield b"first"
            await more.wait()
            yield b"second"

        seen = []
        async for item in with_heartbeats(events(), seconds=0.01):
            seen.append(item)
            if seen.count(b": heartbeat\n\n") == 3:
                more.set()
        assert seen[0] == b"first"
        assert seen[-1] == b"second"
        assert seen[1:4] == [b": heartbeat\n\n"] * 3

    async def test_none_while_events_come(self) -> None:
        async def events() -> AsyncGenerator[bytes, None]:
            for n in range(5):
                yield str(n).encode()

        assert [item async for item in with_heartbeats(events(), seconds=60)] == [
            b"0", b"1", b"2", b"3", b"4",
        ]  # fmt: skip

    async def test_leaving_stops_the_work(self) -> None:
        stopped = asyncio.Event()

        async def events() -> AsyncGenerator[bytes, None]:
            try:
                await asyncio.sleep(600)
                yield b""
            finally:
                stopped.set()

        beats = with_heartbeats(events(), seconds=0.01)
        assert await anext(beats) == b": heartbeat\n\n"
        await beats.aclose()
        async with asyncio.timeout(SECONDS):
            await stopped.wait()

    async def test_failures_come_through(self) -> None:
        async def events() -> AsyncGenerator[bytes, None]:
            raise UpstreamError("away")
            yield b""

        with pytest.raises(UpstreamError, match="away"):
            [item async for item in with_heartbeats(events(), seconds=60)]

    async def test_who_leaves_while_an_event_is_sent_closes_what_makes_them(self) -> None:
        sending, closed = asyncio.Event(), asyncio.Event()

        async def events() -> AsyncGenerator[bytes, None]:
            try:
                while True:
                    yield b"event"
            finally:
                closed.set()

        async def receive() -> Message:
            await sending.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.body":
                sending.set()
                await asyncio.sleep(600)

        made = events()  # kept alive, as in a reference cycle: nothing else would close it
        scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
        async with asyncio.timeout(SECONDS):
            await response(made)(scope, receive, send)
            await closed.wait()
