"""The real server and the real command line, as processes."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.fork_server import run_forked
from tests.forked import ForkedRag, Process, run_rag
from tests.forked_vllm import VllmRag

Json = dict[str, Any]
T = TypeVar("T")
RAG = (sys.executable, "-m", "rag.cli.main")
PATIENCE = 240.0
"""Seconds that anything may take: far more than usual, so that a busy machine fails no test."""
LONGEST_PAUSE = 0.2
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients of plain HTTP: each would read the trusted certificates, which takes 25 ms."""


@dataclass(frozen=True, slots=True)
class Server:
    process: Process
    url: str
    log: Path

    def kill(self) -> None:
        """Kills the process, as a power cut does."""
        self.process.kill()
        self.process.wait()

    def interrupt(self) -> int:
        """Interrupts the process, as Ctrl-C does; returns its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=PATIENCE, verify=NO_CERTIFICATES)


def environment(data: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAG_")}
    own = {"RAG_DATA_DIR": str(data), "XDG_STATE_HOME": str(data.parent / "state")}
    return clean | own | dict(extra or {})


def cluster_settings(*, index_port: int, catalog_url: str, broker_url: str) -> dict[str, str]:
    """Returns the environment of processes that share an index, a catalog and a broker."""
    return {
        "RAG_INDEX__KIND": "qdrant",
        "RAG_INDEX__URL": f"http://127.0.0.1:{index_port}",
        "RAG_INDEX__GRPC_PORT": str(index_port),
        "RAG_CATALOG__KIND": "postgres",
        "RAG_CATALOG__URL": catalog_url,
        "RAG_QUEUE__KIND": "celery",
        "RAG_QUEUE__BROKER_URL": broker_url,
    }


def start(
    *arguments: str,
    data: Path,
    log: Path,
    env: Mapping[str, str] | None = None,
    command: Sequence[str] = (),
    program: str = "",
    vllm: bool = False,
) -> Process:
    """Starts `rag`, whose output is appended to `log`.

    `command` replaces `rag` as `tests.forked` starts it. There, `program` is Python that runs in
    its place, and `vllm` tells that it uses vLLM.
    """
    settings = environment(data, env)
    if vllm and not command:
        return VllmRag(arguments, cwd=data.parent, env=settings, log=log)
    if not command:
        return ForkedRag(
            arguments, cwd=data.parent, env=settings, stdout=log, stderr=log, program=program
        )
    with log.open("ab") as output:
        return subprocess.Popen(
            [*command, *arguments],
            cwd=data.parent,
            env=settings,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


@contextlib.contextmanager
def launched(
    data: Path,
    *,
    env: Mapping[str, str] | None = None,
    port: str = "0",
    command: Sequence[str] = (),
    vllm: bool = False,
) -> Iterator[Server]:
    """Runs `rag serve`, by default on a free port; the block begins once it prints its address.

    See `start` for `command` and `vllm`.
    """
    data.parent.mkdir(parents=True, exist_ok=True)
    log = data.parent / f"{data.name}.log"
    log.write_bytes(b"")
    process = start(
        "serve", "--port", port, data=data, log=log, env=env, command=command, vllm=vllm
    )

    def address() -> str | None:
        found = re.search(r" at (https?://\S+) ", log.read_text())
        assert found or process.poll() is None, log.read_text()
        return found[1] if found else None

    try:
        yield Server(process, wait_for(address), log)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(PATIENCE)


@contextlib.contextmanager
def serving(
    data: Path,
    *,
    env: Mapping[str, str] | None = None,
    port: str = "0",
    command: Sequence[str] = (),
    vllm: bool = False,
) -> Iterator[Server]:
    """Runs `rag serve`; the block begins once it is ready. See `start` for `command` and `vllm`."""
    with (
        launched(data, env=env, port=port, command=command, vllm=vllm) as server,
        server.client() as http,
    ):

        def ready() -> bool:
            assert server.process.poll() is None, server.log.read_text()
            with contextlib.suppress(httpx.TransportError):
                return http.get("/readyz").status_code == 200
            return False

        # An engine is more processes, which load torch.
        wait_for(ready, seconds=3 * PATIENCE if vllm else PATIENCE, growth=1.2)
        yield server


@contextlib.contextmanager
def working(data: Path, env: Mapping[str, str], *options: str) -> Iterator[None]:
    """Runs `rag worker`; the block begins once it takes tasks, and SIGTERM ends it afterwards."""
    log = data.parent / f"worker{''.join(options)}.log"
    log.write_bytes(b"")
    worker = start("worker", *options, data=data, log=log, env=env)

    def ready() -> bool:
        assert worker.poll() is None, log.read_text()
        return "ready." in log.read_text()

    try:
        wait_for(ready)
        yield
    finally:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0, log.read_text()


def rag(
    *arguments: str | bytes | Path,
    data: Path,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    cwd: Path | None = None,
    command: Sequence[str] = (),
    program: str = "",
) -> subprocess.CompletedProcess[str]:
    """Runs `rag`; returns its output as text. See `start` for `command` and `program`."""
    data.parent.mkdir(parents=True, exist_ok=True)
    folder, settings = cwd or data.parent, environment(data, env)
    if not command:
        texts = [os.fsdecode(argument) for argument in arguments]
        return run_forked(
            *("rag", run_rag, texts, program),
            stdin=stdin,
            env=settings,
            cwd=folder,
            timeout=PATIENCE,
        )
    ran = subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env=settings,
        input=stdin,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    return subprocess.CompletedProcess(
        ran.args, ran.returncode, ran.stdout.decode(), ran.stderr.decode()
    )


def wait_for(
    look: Callable[[], T | None],
    *,
    seconds: float = PATIENCE,
    pause: float = 0.02,
    growth: float = 1.0,
) -> T:
    """Calls `look` until its result is true, and returns that; fails after `seconds`.

    The first pause between two calls is `pause` seconds, and each is `growth` times the one before,
    up to `LONGEST_PAUSE`: `growth` is for calls that take time of a server that works.
    """
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"it did not happen within {seconds:g} s"
        time.sleep(pause)
        pause = min(growth * pause, max(pause, LONGEST_PAUSE))
    return seen


def submit(http: httpx.Client, *documents: Json, collection: str = "default") -> Json:
    """Submits documents as JSON, waits, and returns their finished job."""
    body = {"collection": collection, "documents": list(documents)}
    return finished(http, http.post("/v1/documents", json=body))


def finished(http: httpx.Client, accepted: httpx.Response) -> Json:
    """Waits for the job of an accepted request to end; returns it."""
    assert accepted.status_code == 202, accepted.text
    return ended(http, accepted.json()["job_id"])


def ended(http: httpx.Client, job_id: str) -> Json:
    """Waits for a job to end; returns it."""

    def look() -> Json | None:
        job: Json = http.get(f"/v1/jobs/{job_id}").json()
        return None if job["state"] in ("pending", "running") else job

    return wait_for(look, growth=1.2)


def all_documents(
    http: httpx.Client, collection: str = "default", *, limit: int = 1000
) -> list[Json]:
    """Returns every document, read page by page."""
    return _pages(http, "/v1/documents", "documents", collection, limit)


def all_chunks(
    http: httpx.Client, document_id: str, collection: str = "default", *, limit: int = 1000
) -> list[Json]:
    """Returns every chunk of a document, read page by page."""
    path = f"/v1/documents/{encoded(document_id)}/chunks"
    return _pages(http, path, "chunks", collection, limit)


def contents(http: httpx.Client, collection: str) -> dict[str, list[str]]:
    """Returns a collection's chunk ids by document id."""
    return {
        document["id"]: [chunk["id"] for chunk in all_chunks(http, document["id"], collection)]
        for document in all_documents(http, collection)
    }


def encoded(document_id: str) -> str:
    """Returns an id encoded for a URL."""
    from urllib.parse import quote

    return quote(document_id, safe="")


def states(data: Path) -> list[str]:
    """Returns the states of a data folder's tasks, also while it is in use; [] before any."""
    try:
        with contextlib.closing(
            sqlite3.connect(f"file:{data / 'catalog.sqlite'}?mode=ro", uri=True)
        ) as db:
            return [state for (state,) in db.execute("SELECT state FROM tasks")]
    except sqlite3.OperationalError:
        return []


def _pages(http: httpx.Client, path: str, key: str, collection: str, limit: int) -> list[Json]:
    items: list[Json] = []
    cursor: str | None = None
    while True:
        params: dict[str, str | int] = {"collection": collection, "limit": limit}
        response = http.get(path, params=params | ({"cursor": cursor} if cursor else {}))
        assert response.status_code == 200, response.text
        page = response.json()
        assert len(page[key]) <= limit
        items += page[key]
        if (cursor := page["next_cursor"]) is None:
            return items
