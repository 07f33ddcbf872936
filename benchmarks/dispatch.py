"""The broker's share of a backlog: 10,000, 100,000 and 1,000,000 documents wait before Redis.

Generated documents in jobs of 1,000 are listed in a catalog of PostgreSQL, and the queue sends what
Redis has room for. At each size, messages are taken away as workers take them, round by round, and
the queue fills Redis again. PostgreSQL and Redis are real processes on loopback; nothing is
ingested. The floor is the same at the smallest size: a round that has to look at all that waits
grows with it.
It takes long, so it runs only where it is named: `python -m benchmarks.run dispatch`.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import redis
from pydantic import SecretStr

from benchmarks._common import Report, p50
from benchmarks.backlog import JOB, SCOPE
from rag.catalog.catalog import Catalog
from rag.catalog.database import PostgresDatabase
from rag.settings.storage import CeleryQueueSettings
from tests.catalogs import submission
from tests.postgres import PostgresServer
from tests.redis_server import redis_server
from workers.celery_app import celery_app, queue_of
from workers.celery_queue import TOGETHER, WINDOW, CeleryQueue

SIZES = (10_000, 100_000, 1_000_000)
ROUNDS = 20
MIB = 1 << 20
BULK = queue_of("parse", bulk=True)


def run(sizes: Sequence[int] = SIZES) -> Report:
    """Grows one catalog from size to size."""
    return asyncio.run(_run(sizes))


async def _run(sizes: Sequence[int]) -> Report:
    report, floors = Report(), dict[str, float]()
    with (
        tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder,
        PostgresServer.started() as postgres,
        redis_server(Path(folder) / "redis") as broker,
    ):
        catalog = Catalog(PostgresDatabase(postgres.new_database()))
        await catalog.open()
        await catalog.collections.claim(SCOPE, "embedder")
        settings = CeleryQueueSettings(kind="celery", broker_url=SecretStr(broker.url))
        queue = CeleryQueue(catalog=catalog, app=celery_app(settings))
        store = redis.Redis.from_url(broker.url)
        listed = 0
        for size in sizes:
            began = time.perf_counter()
            for start in range(listed, size, JOB):
                names = (submission(f"document-{n:08d}") for n in range(start, start + JOB))
                await catalog.jobs.submit(SCOPE, names, bulk=True)
            took = (time.perf_counter() - began) / (size - listed) * 1e3
            listed = size
            figures = {"listed": (took, "ms/document")} | await _rounds(queue, store)
            for name, (value, unit) in figures.items():
                floor = floors.setdefault(name, value)
                report.add(f"{size:,}: {name}", value, unit=unit, floor=floor)
        store.close()
        await catalog.close()
    return report


async def _rounds(queue: CeleryQueue, store: redis.Redis) -> dict[str, tuple[float, str]]:
    """Takes what is in Redis away, and has it filled again, some times over."""
    here, times, cpu, most = psutil.Process(), [], [], 0
    for _ in range(ROUNDS):
        store.delete(BULK)
        began, busy = time.perf_counter(), time.process_time()
        await queue._send()
        times.append((time.perf_counter() - began) * 1e3)
        cpu.append((time.process_time() - busy) * 1e3)
        assert store.llen(BULK) == WINDOW
        most = max(most, store.info("memory")["used_memory"])
    return {
        f"a round of {WINDOW * TOGETHER} documents": (p50(times), "ms"),
        "its CPU time here": (p50(cpu), "ms CPU"),
        "memory of Redis": (most / MIB, "MiB"),
        "memory of the process that sends": (here.memory_info().rss / MIB, "MiB"),
    }
