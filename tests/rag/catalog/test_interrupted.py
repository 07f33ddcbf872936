"""Tasks that never end, and tasks whose process dies first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ingest.document_trace import DocumentTraces
from ingest.retries import attempt
from rag.catalog.catalog import Catalog
from rag.catalog.database import PostgresDatabase
from rag.catalog.sqlite_database import SqliteDatabase
from rag.errors import BusyError
from rag.records import ATTEMPTS, Submission, Task
from rag.telemetry.trace import Trace
from rag.types import Scope
from tests.postgres import PostgresServer, lose_locks
from workers.local_queue import LocalQueue

pytestmark = pytest.mark.anyio


@pytest.fixture
async def catalog(folder: Path) -> AsyncIterator[Catalog]:
    made = Catalog(SqliteDatabase(folder / "catalog.sqlite"))
    await made.open()
    yield made
    await made.close()


async def submit(catalog: Catalog, scope: Scope, *names: str) -> str:
    return await catalog.jobs.submit(
        scope, [Submission(document_id=name, uri=name, source={"path": name}) for name in names]
    )


async def on(catalog: Catalog, task: Task, work: asyncio.Event, *, seconds: float | None) -> bool:
    """Runs an attempt that lasts until the event; returns its result."""

    async def wait(_task: Task, _trace: Trace) -> None:
        await work.wait()

    return await attempt(catalog, task, wait, wait=False, seconds=seconds, traces=DocumentTraces())


async def test_what_takes_too_long_fails_at_once_and_names_the_setting(
    catalog: Catalog, scope: Scope
) -> None:
    job = await submit(catalog, scope, "endless")
    [task] = await catalog.tasks.claim(9)
    assert not await on(catalog, task, asyncio.Event(), seconds=0.1)
    record = await catalog.jobs.get(scope.tenant, job)
    assert record.state == "failed"
    assert "not ingested within 0.1 s" in record.failures[0]["error"]
    assert "queue.task_seconds" in record.failures[0]["error"]
    assert await catalog.tasks.claim(9) == []
    async with catalog.alone(task.scope, "document", task.document_id, wait=False):
        """The document's lock is free."""


async def test_what_is_told_to_stop_is_pending_and_has_not_failed(
    catalog: Catalog, scope: Scope
) -> None:
    await submit(catalog, scope, "a")
    for _ in range(ATTEMPTS + 1):
        [task] = await catalog.tasks.claim(9)
        assert task.attempts == 0
        running = asyncio.create_task(on(catalog, task, asyncio.Event(), seconds=None))
        while (await catalog.documents.get(scope, "a")).state != "running":  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        running.cancel()
        await asyncio.wait([running])
        assert (await catalog.documents.get(scope, "a")).state == "pending"
        await catalog.tasks.release(died=True)  # the next start


async def test_a_lost_connection_is_no_death(postgres: PostgresServer, scope: Scope) -> None:
    database, other = (PostgresDatabase(url) for url in [postgres.new_database()] * 2)
    catalog, elsewhere = Catalog(database), Catalog(other)
    await catalog.open()
    await submit(catalog, scope, "a")
    [task] = await catalog.tasks.claim(9)
    done = asyncio.Event()
    running = asyncio.create_task(on(catalog, task, done, seconds=None))
    while (await catalog.documents.get(scope, "a")).state != "running":  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    await lose_locks(other)
    [again] = await elsewhere.tasks.get([task.id])  # the broker gives it to another process
    assert again.interrupted
    with pytest.raises(BusyError):
        await on(elsewhere, again, asyncio.Event(), seconds=None)
    assert [t.attempts for t in await elsewhere.tasks.get([task.id])] == [again.attempts]
    done.set()
    assert await running
    await catalog.close()
    await elsewhere.close()


class Mortal:
    """A process that dies on documents named `deadly…` and finishes others after a moment."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.died = asyncio.Event()

    async def take(self, task: Task) -> None:
        async with self.catalog.alone(task.scope, "document", task.document_id, wait=False):
            if not await self.catalog.tasks.begin(task):
                return
            if task.document_id.startswith("deadly"):
                self.died.set()
            await asyncio.sleep(0.01)
            if self.died.is_set():
                await asyncio.sleep(3600)
            await self.catalog.outcomes.fail(task, "done")


def embedded(mortal: Mortal) -> LocalQueue:
    async def tidy(_: Scope) -> None:
        """Does nothing: nothing was written."""

    return LocalQueue(catalog=mortal.catalog, ingest=mortal.take, maintain=tidy)


async def lives(catalog: Catalog, scope: Scope, job: str) -> int:
    """Runs the embedded queue; returns how many of a job's documents ran when it died."""
    await catalog.tasks.release(died=True)
    mortal = Mortal(catalog)
    working = asyncio.create_task(embedded(mortal).drain())
    dying = asyncio.create_task(mortal.died.wait())
    await asyncio.wait([working, dying], return_when=asyncio.FIRST_COMPLETED)
    for task in (working, dying):
        task.cancel()
    await asyncio.wait([working, dying])
    return (await catalog.jobs.get(scope.tenant, job)).counts.get("running", 0)


async def test_the_embedded_queue_gives_up_what_ends_its_process_and_that_alone(
    catalog: Catalog, scope: Scope
) -> None:
    names = ["deadly", *(f"d{n:02}" for n in range(30))]
    job = await submit(catalog, scope, *names)
    died = [await lives(catalog, scope, job) for _ in range(ATTEMPTS + 1)]
    assert [under_way > 0 for under_way in died] == [True] * ATTEMPTS + [False]
    assert died[0] > 1, "others were under way with it"
    errors = {
        f["document_id"]: f["error"] for f in (await catalog.jobs.get(scope.tenant, job)).failures
    }
    assert errors.keys() == set(names)
    assert f"ended {ATTEMPTS} times before it was done" in errors.pop("deadly")
    assert set(errors.values()) == {"done"}
    await catalog.jobs.retry(scope.tenant, job)
    assert await lives(catalog, scope, job), "it may be tried again, from the beginning"
