"""Several processes of a server: what a second core brings, and what each process takes.

A server on PostgreSQL, Redis and an index, all pinned to one core with one process, and to two
cores with two; between them the same two cores with one process. The load generator runs on the
same cores. The index is the client's local mode behind gRPC (`tests.qdrant_grpc`), which is slow
and one process: so the answers are given again from the cache in Redis, and the index is not asked.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from benchmarks._common import Report, SkippedError, Target
from benchmarks._server import Server, launched
from benchmarks.rest import load
from tests.postgres import PostgresServer
from tests.qdrant_grpc import grpc_port
from tests.redis_server import redis_server

MIB = 1 << 20
CLIENTS, SECONDS, ROUNDS = 32, 5.0, 2
TEXT = "The harbour opens at 6 in the morning."
QUESTION = "When does the harbour open?"
QUERY = "/v1/query"


def run() -> Report:
    """One core, two cores with one process, two with two, by turns."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise SkippedError("it needs two cores")
    report = Report()
    cases = ((cores[:1], 1), (cores, 1), (cores, 2))
    rates: dict[int, list[float]] = {number: [] for number in range(len(cases))}
    memory: dict[int, float] = {}
    errors = 0
    try:
        for _ in range(ROUNDS):
            for number, (pinned, processes) in enumerate(cases):
                with _pinned(pinned), _server(processes) as server:
                    found = _measure(server)
                    rates[number].append(found["per_second"])
                    errors += len(found["errors"])
                    memory[number] = _memory(server.pid)
    finally:
        os.sched_setaffinity(0, cores)
    one, wide, two = (max(each) for each in rates.values())
    report.add(
        "hits, 2 cores and 2 processes, by 1 core",
        two,
        unit="answers/s",
        floor=one,
        target=Target(bound=1.8, by="ratio", at_least=True),
    )
    report.add("hits, 2 cores and 1 process, by 1 core", wide, unit="answers/s", floor=one)
    report.add("memory, 2 processes by 1 (PSS)", memory[2], unit="MiB", floor=memory[1])
    report.add("errors", errors, target=Target(bound=0))
    return report


def _measure(server: Server) -> dict[str, Any]:
    server.post("/v1/documents", {"documents": [{"id": "harbour", "text": TEXT}]})
    same = partial(load, server.url, questions=[QUESTION], path=QUERY, numbered=False)
    deadline = time.monotonic() + 60
    while not server.post(QUERY, {"query": QUESTION})["cached"]:
        if time.monotonic() > deadline:
            raise RuntimeError("no answer is given again")
        time.sleep(0.1)
    same(clients=CLIENTS, seconds=1)
    return same(clients=CLIENTS, seconds=SECONDS)


@contextmanager
def _pinned(cores: Collection[int]) -> Iterator[None]:
    """Keeps this process, and those that it starts, on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _server(processes: int) -> Iterator[Server]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="plumbline-bench-")))
        postgres = stack.enter_context(PostgresServer.started())
        redis = stack.enter_context(redis_server(folder / "redis", durable=False))
        port = stack.enter_context(_index())
        env = os.environ | {
            "RAG_DATA_DIR": str(folder / "data"),
            "RAG_SERVER__PROCESSES": str(processes),
            "RAG_INDEX__KIND": "qdrant",
            "RAG_INDEX__URL": f"http://127.0.0.1:{port}",
            "RAG_INDEX__GRPC_PORT": str(port),
            "RAG_CATALOG__KIND": "postgres",
            "RAG_CATALOG__URL": postgres.new_database(),
            "RAG_ANSWER_CACHE__KIND": "redis",
            "RAG_ANSWER_CACHE__URL": redis.url,
        }
        server = stack.enter_context(launched(env))
        server.wait_until_ready()
        yield server


@contextmanager
def _index() -> Iterator[int]:
    """Yields the port of an index, which answers on a thread of this process."""
    ready, over, ports = threading.Event(), threading.Event(), list[int]()

    async def serve() -> None:
        async with grpc_port() as port:
            ports.append(port)
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait()
    try:
        yield ports[0]
    finally:
        over.set()
        thread.join()


def _memory(pid: int) -> float:
    """Returns the proportional share of memory of a process and all below it, in MiB."""
    process = psutil.Process(pid)
    family = (process, *process.children(recursive=True))
    return float(sum(each.memory_full_info().pss for each in family)) / MIB
