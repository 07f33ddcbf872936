"""Processes that die while they ingest: workers on a real Redis and PostgreSQL, and a server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from functools import partial
from pathlib import Path

import httpx
import pytest

from rag.records import ATTEMPTS
from tests.e2e.test_e2e_workers import SCOPE, Cluster, running, write
from tests.forked import Process
from tests.postgres import PostgresServer
from tests.servers import PATIENCE, Json, all_documents, launched, wait_for

pytestmark = pytest.mark.anyio

HOLDS = """
import asyncio, os, pathlib, sys
from ingest.parse_stage import Parsing
from rag.cli.main import main
from workers import celery_queue
celery_queue.LOST_SECONDS = 3600  # else a dispatcher gives it again
parse = Parsing._parse

async def hold(self, task, trace):
    try:
        pathlib.Path("taken").open("x").write(str(os.getpid()))
    except FileExistsError:
        return await parse(self, task, trace)
    await asyncio.sleep(3600)

Parsing._parse = hold
sys.exit(main())
"""
"""The first worker that gets a document holds it and writes its process id."""
RAG_THAT = """
import asyncio, os, sys
from ingest.writing import Writer
from rag.cli.main import main
chunk = Writer.chunk

async def patched(self, document, trace):
    {does}
    return await chunk(self, document, trace)

Writer.chunk = patched
sys.exit(main())
"""
DIES = RAG_THAT.format(does='if "deadly" in document.uri: os.kill(os.getpid(), 9)')
SLEEPS = RAG_THAT.format(does='if "endless" in document.uri: await asyncio.sleep(3600)')
RETURNS_SECONDS = 60.0
"""The broker's 5 s, a check every 5 s and a busy machine; kombu's default check is 100 s."""


async def test_a_killed_worker_s_document_comes_back_within_the_broker_s_time(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    async with running(tmp_path, postgres, dispatching=False) as cluster:
        workers = [await start(cluster, HOLDS, "--stage", "parse") for _ in range(2)]
        names = set(re.findall(r"(\S+@\S+) ready\.", cluster.log.read_text()))
        assert len(names) == 2, "two workers on one host have names of their own"
        job = await cluster.submit(write(cluster.folder / "files", 1))
        await cluster.queue.drain()
        taken = cluster.folder / "taken"
        pid = int(await asyncio.to_thread(wait_for, lambda: written(taken)))
        os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        parsed = await cluster.until(
            job, lambda record: record.stages == {"embed": 1}, seconds=RETURNS_SECONDS
        )
        assert parsed.counts == {"pending": 1}
        print(f"It came back after {time.monotonic() - began:.1f} s.")
        ended = {worker.pid: await stopped(worker) for worker in workers}
        assert ended == {worker.pid: -9 * (worker.pid == pid) for worker in workers}
        log = cluster.log.read_text()
        assert all(f"INFO/{name}]" in log for name in names), "each line says whose it is"


async def start(cluster: Cluster, program: str, *options: str) -> Process:
    """Starts a worker that runs this program in place of `rag`."""
    return await asyncio.to_thread(cluster.start_worker, *options, program=program)


def written(file: Path) -> str | None:
    """Returns a file's text; None while it is missing or empty."""
    return file.read_text() or None if file.exists() else None


async def stopped(worker: Process) -> int:
    """Sends SIGTERM to a worker and returns its exit code."""
    worker.send_signal(signal.SIGTERM)
    return await asyncio.to_thread(worker.wait, PATIENCE)


async def test_a_document_that_never_ends_is_a_dead_letter(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    async with running(tmp_path, postgres) as cluster:
        cluster.extra["RAG_QUEUE__TASK_SECONDS"] = "2"
        endless = cluster.folder / "endless.txt"
        endless.write_text("It takes as long as it likes.")
        worker = await start(cluster, SLEEPS)
        record = await cluster.ended(await cluster.submit([endless]))
        assert record.counts == {"failed": 1}
        assert "queue.task_seconds" in record.failures[0]["error"]
        assert await stopped(worker) == 0


@pytest.mark.attack
async def test_a_document_that_kills_whatever_worker_takes_it_is_a_dead_letter(
    tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.celery_queue.LOST_SECONDS", 3.0)
    async with running(tmp_path, postgres) as cluster:
        files = write(cluster.folder / "files", 30)
        deadly = files[5].rename(files[5].with_name("deadly.txt"))
        job = await cluster.submit([*files[:5], deadly, *files[6:]])
        worker, deaths = await start(cluster, DIES), 0
        while (await cluster.catalog.jobs.get(SCOPE.tenant, job)).state in ("pending", "running"):
            if worker.poll() is not None:
                deaths += 1
                assert deaths <= ATTEMPTS
                worker = await start(cluster, DIES)
            await asyncio.sleep(0.2)
        record = await cluster.catalog.jobs.get(SCOPE.tenant, job)
        assert (deaths, record.counts) == (ATTEMPTS, {"succeeded": 29, "failed": 1})
        assert record.failures[0]["uri"] == deadly.as_uri()
        assert f"ended {ATTEMPTS} times before it was done" in record.failures[0]["error"]
        assert await stopped(worker) == 0


@pytest.mark.attack
def test_a_document_that_kills_the_server_that_ingests_it_is_a_dead_letter(tmp_path: Path) -> None:
    texts = {name: f"It is {name}." for name in ("deadly", "harmless", "dull")}
    documents = [{"id": n, "uri": f"doc:{n}", "text": text} for n, text in texts.items()]
    deaths = 0
    while True:
        command = (sys.executable, "-c", DIES)
        with launched(tmp_path / "data", command=command) as server, server.client() as http:
            with contextlib.suppress(httpx.TransportError):  # it dies
                wait_for(partial(is_ready, http))
                if not deaths:
                    http.post("/v1/documents", json={"documents": documents}).raise_for_status()
                found = wait_for(partial(all_settled, http))
                break
            server.process.wait(PATIENCE)
            deaths += 1
            assert deaths <= ATTEMPTS
    states = {document["id"]: document["state"] for document in found}
    assert states == {"deadly": "failed", "harmless": "succeeded", "dull": "succeeded"}
    assert deaths == ATTEMPTS
    [error] = [document["error"] for document in found if document["id"] == "deadly"]
    assert f"ended {ATTEMPTS} times before it was done" in error


def is_ready(http: httpx.Client) -> bool:
    return http.get("/readyz").is_success


def all_settled(http: httpx.Client) -> list[Json] | None:
    """Returns all documents once none is pending or running; else None."""
    documents = all_documents(http)
    is_open = any(document["state"] in ("pending", "running") for document in documents)
    return None if is_open else documents
