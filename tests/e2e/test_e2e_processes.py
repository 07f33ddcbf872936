"""`rag serve` with two processes on one address: killed, stopped, and refused; their encoder."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tests.postgres import PostgresServer
from tests.qdrant_grpc import grpc_port
from tests.servers import PATIENCE, RAG, Server, launched, rag, serving, submit, wait_for

pytestmark = pytest.mark.anyio
QUESTION = {"query": "When does the harbour open?"}
HARBOUR = {"id": "harbour", "text": "The harbour opens at 6 in the morning."}
FRESH = {"Cache-Control": "no-cache"}
CLIENTS = 4


def on_servers(port: int, postgres: PostgresServer) -> dict[str, str]:
    return {
        "RAG_SERVER__PROCESSES": "2",
        "RAG_LIMITS__QUERY_SECONDS": "600",  # questions wait for an encoder that is started again
        "RAG_INDEX__KIND": "qdrant",
        "RAG_INDEX__URL": f"http://127.0.0.1:{port}",
        "RAG_INDEX__GRPC_PORT": str(port),
        "RAG_CATALOG__KIND": "postgres",
        "RAG_CATALOG__URL": postgres.new_database(),
    }


def children(parent: int) -> set[int]:
    """Returns the processes of a server that serve."""
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return {int(pid) for pid in found if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()}


def encoders(server: Server) -> list[int]:
    """Returns the processes that encode, below those that serve."""
    below = psutil.Process(server.process.pid).children(recursive=True)
    return [each.pid for each in below if "rag.process.shared_process" in each.cmdline()]


def connections(server: Server, pid: int) -> int:
    """Returns the connections of clients that a process of a server has."""
    port = urlsplit(server.url).port
    return sum(
        each.laddr.port == port and each.status == psutil.CONN_ESTABLISHED
        for each in psutil.Process(pid).net_connections("tcp")
    )


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and "(Z" not in Path(f"/proc/{pid}/stat").read_text()


async def test_a_process_that_is_killed_is_replaced_and_all_end_with_their_parent(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    async with grpc_port() as port:
        settings = on_servers(port, postgres)
        # In a thread: the index answers on this event loop.
        await asyncio.to_thread(_kill, tmp_path, settings)


def _kill(folder: Path, settings: Mapping[str, str]) -> None:
    with serving(folder / "data", env=settings, command=RAG) as server, server.client() as http:
        submit(http, HARBOUR)
        first = wait_for(lambda: found if len(found := children(server.process.pid)) == 2 else None)
        assert _asked(server, 12) == 12  # in the metrics of all, whichever process answers
        _share_connections(server, first)
        (encoder,) = encoders(server)
        starter = psutil.Process(encoder).ppid()
        failed = _while_asked(server, lambda: _replaced(server, first, starter))
        assert failed <= CLIENTS  # those under way
        assert server.process.poll() is None
        assert is_there(encoder)  # the other process has used it
        assert _while_asked(server, lambda: _encoder_replaced(server, encoder)) == 0

        pid = server.process.pid
        left = children(pid)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
        assert not [each for each in left if is_there(each)]
    assert "ended (exit code -9)" in server.log.read_text()

    with serving(folder / "data", env=settings, command=RAG) as server:
        left = children(server.process.pid)
        server.kill()
        wait_for(lambda: not [each for each in left if is_there(each)] or None)


def _asked(server: Server, times: int) -> float:
    """Asks over new connections; returns the questions that the server has counted."""
    for _ in range(times):
        assert httpx.post(f"{server.url}/v1/query", json=QUESTION).is_success
    scrape = httpx.get(f"{server.url}/metrics").text
    lines = [line for line in scrape.splitlines() if line.startswith("plumbline_questions_total")]
    assert "plumbline_catalog_up 1.0" in scrape
    assert "pid=" not in scrape
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def _share_connections(server: Server, processes: set[int]) -> None:
    with ExitStack() as stack:
        for _ in range(2 * CLIENTS):
            assert stack.enter_context(server.client()).get("/healthz").is_success
        # The test has others, too, which may still be open.
        assert min(connections(server, pid) for pid in processes) >= CLIENTS


def _encoder_replaced(server: Server, killed: int) -> None:
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: len(set(encoders(server)) - {killed}) == 1 or None)


def _replaced(server: Server, first: set[int], killed: int) -> None:
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: len(children(server.process.pid) - {killed}) == 2 or None)


def _while_asked(server: Server, work: Callable[[], None]) -> int:
    """Does the work while clients ask; returns how many questions got no answer."""
    over = Event()

    def ask() -> int:
        failed = 0
        with server.client() as http:
            while not over.is_set():
                try:
                    response = http.post("/v1/query", json=QUESTION, headers=FRESH)
                except httpx.TransportError:
                    failed += 1
                else:
                    answer = response.json()
                    assert "6 in the morning" in answer["answer"]
                    assert not answer["degraded"]
        return failed

    with ThreadPoolExecutor() as threads:
        asking = [threads.submit(ask) for _ in range(CLIENTS)]
        try:
            work()
        finally:
            over.set()
        return sum(each.result() for each in asking)


def test_a_data_folder_of_one_process_is_not_for_several(tmp_path: Path) -> None:
    ran = rag("serve", data=tmp_path / "data", env={"RAG_SERVER__PROCESSES": "2"})
    assert ran.returncode == 2
    assert "server.processes is 2, and one process owns the data folder" in ran.stderr


def test_if_none_can_start_the_reason_is_said_once(tmp_path: Path) -> None:
    away = {
        "RAG_SERVER__PROCESSES": "2",
        "RAG_INDEX__KIND": "qdrant",
        "RAG_INDEX__URL": "http://127.0.0.1:1",
        "RAG_CATALOG__KIND": "postgres",
        "RAG_CATALOG__URL": "postgresql://plumbline@127.0.0.1:1/plumbline",
    }
    with launched(tmp_path / "data", env=away, command=RAG) as server:
        assert server.process.wait(PATIENCE) == 1
    assert server.log.read_text().count("rag: ") == 1, server.log.read_text()
