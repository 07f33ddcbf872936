"""The catalog's queue with 10,000, 100,000 and 1,000,000 documents that wait.

Generated documents in jobs of 1,000 are listed in a catalog of SQLite. At each size the calls
behind `rag status`, `/v1/queue`, `/metrics`, a job's page and the embedded queue are measured in
CPU time, and documents are claimed, begun and stored. The floor is the same at the smallest size:
a call that has to look at all documents grows with them.
It takes some ten minutes, so it runs only where it is named: `python -m benchmarks.run backlog`.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from benchmarks._common import Report, p50
from rag.catalog.catalog import Catalog
from rag.catalog.sqlite_database import SqliteDatabase
from rag.records import Submission
from rag.types import Scope
from retrieval.indexes.sparse_files import size_of
from tests.catalogs import submission, succeed

SIZES = (10_000, 100_000, 1_000_000)
JOB = 1_000
CALLS = 5
DRAINED = 500
AT_ONCE = 20
MIB = 1 << 20
SCOPE = Scope(tenant="bench", collection="backlog")
OTHER = Scope(tenant="other", collection="backlog")


def run(sizes: Sequence[int] = SIZES) -> Report:
    """Grows one catalog from size to size."""
    return asyncio.run(_run(sizes))


async def _run(sizes: Sequence[int]) -> Report:
    report, floors = Report(), dict[str, float]()
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder:
        file = Path(folder) / "catalog.sqlite"
        catalog = Catalog(SqliteDatabase(file))
        await catalog.open()
        try:
            listed = 0
            for size in sizes:
                seconds, last = await _submit(catalog, listed, size)
                report.add(
                    f"{size:,}: listed", seconds / (size - listed) * 1e3, unit="ms CPU/document"
                )
                listed = size
                report.add(f"{size:,}: catalog", size_of(Path(folder)) / MIB, unit="MiB")
                for name, call in _calls(catalog, last).items():
                    taken = await _time(call)
                    floor = floors.setdefault(name, taken)
                    report.add(f"{size:,}: {name}", taken, unit="ms CPU", floor=floor)
                report.add(f"{size:,}: drained", await _drain(catalog), unit="ms CPU/document")
        finally:
            await catalog.close()
    return report


async def _submit(catalog: Catalog, first: int, size: int) -> tuple[float, str]:
    """Returns the CPU time of listing, and the last job."""
    await catalog.collections.claim(SCOPE, "embedder")
    await catalog.collections.claim(OTHER, "embedder")
    started, job = time.process_time(), ""
    for start in range(first, size, JOB):
        job = await catalog.jobs.submit(SCOPE, _documents(start, min(JOB, size - start)))
    return time.process_time() - started, job


def _documents(start: int, count: int) -> list[Submission]:
    return [submission(f"document-{start + n:08d}") for n in range(count)]


def _calls(catalog: Catalog, job: str) -> dict[str, Callable[[], Awaitable[object]]]:
    return {
        "collections of the tenant": lambda: catalog.collections.of(SCOPE.tenant),
        "collections of a small tenant": lambda: catalog.collections.of(OTHER.tenant),
        "a page of documents": lambda: catalog.documents.page(SCOPE, limit=100),
        "a page of failed documents": lambda: catalog.documents.page(
            SCOPE, limit=100, state="failed"
        ),
        "a page of jobs": lambda: catalog.jobs.page(SCOPE.tenant, limit=20),
        "a job": lambda: catalog.jobs.get(SCOPE.tenant, job),
        "the queue's backlog": catalog.jobs.backlog,
        "tenants": catalog.tenants.all,
        "interrupted tasks": catalog.tasks.interrupted,
        "the next task's time": catalog.tasks.next_due,
        "a job of ten documents": lambda: catalog.jobs.submit(OTHER, _documents(0, 10)),
    }


async def _time(call: Callable[[], Awaitable[object]]) -> float:
    """Returns the median of some calls, in ms of CPU."""
    taken = []
    for _ in range(CALLS):
        started = time.process_time()
        await call()
        taken.append((time.process_time() - started) * 1e3)
    return p50(taken)


async def _drain(catalog: Catalog) -> float:
    """Returns the time to claim, begin and store a document, which is not read or embedded."""
    started, done = time.process_time(), 0
    while done < DRAINED:
        for task in await catalog.tasks.claim(AT_ONCE):
            assert await catalog.tasks.begin(task)
            await succeed(catalog, task)
            done += 1
    return (time.process_time() - started) * 1e3 / done
