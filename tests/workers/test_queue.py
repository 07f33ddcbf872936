from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from rag.catalog.catalog import Catalog
from rag.catalog.sqlite_database import SqliteDatabase
from rag.errors import StorageError, UpstreamError
from rag.records import Submission, Task
from rag.types import Document, Scope
from tests.waiting import until
from workers.local_queue import IN_FLIGHT, KEPT_FREE, LocalQueue

pytestmark = pytest.mark.anyio


@pytest.fixture
async def catalog(folder: Path) -> AsyncIterator[Catalog]:
    made = Catalog(SqliteDatabase(folder / "catalog.sqlite"))
    await made.open()
    yield made
    await made.close()


class Worker:
    """Processes tasks as the pipeline does: a document named `bad…` fails, without an error."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.seen: list[str] = []
        self.maintained: list[Scope] = []
        self.most_at_once = 0
        self.gate: asyncio.Event | None = None
        self.before: Callable[[Task], Awaitable[None]] | None = None
        self._now = 0

    async def ingest(self, task: Task) -> None:
        self.seen.append(task.document_id)
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            if self.before:
                await self.before(task)
            await (self.gate.wait() if self.gate else asyncio.sleep(0.001))
        finally:
            self._now -= 1
        if task.document_id.startswith("bad"):
            await self.catalog.outcomes.fail(task, "no text")
        else:
            document = Document(
                id=task.document_id, version="1", uri=task.uri, media_type="", title="", text=""
            )
            await self.catalog.outcomes.unchanged(task, document)

    async def maintain(self, scope: Scope) -> None:
        self.maintained.append(scope)

    def queue(self) -> LocalQueue:
        return LocalQueue(catalog=self.catalog, ingest=self.ingest, maintain=self.maintain)


@pytest.fixture
def worker(catalog: Catalog) -> Worker:
    return Worker(catalog)


async def submit(catalog: Catalog, scope: Scope, *names: str, bulk: bool = False) -> str:
    listed = [Submission(document_id=name, uri=name, source={"path": name}) for name in names]
    return await catalog.jobs.submit(scope, listed, bulk=bulk)


async def succeeded(catalog: Catalog, scope: Scope, job: str) -> None:
    async def has() -> bool:
        return (await catalog.jobs.get(scope.tenant, job)).state == "succeeded"

    await until(has)


async def test_draining_ends_once_no_task_is_left(worker: Worker, scope: Scope) -> None:
    job = await submit(worker.catalog, scope, "a", "b", "c")
    await worker.queue().drain()
    assert worker.seen == ["a", "b", "c"]
    assert (await worker.catalog.jobs.get(scope.tenant, job)).state == "succeeded"


async def test_draining_with_nothing_to_do_ends_at_once(worker: Worker) -> None:
    await worker.queue().drain()
    assert (worker.seen, worker.maintained) == ([], [])


async def test_every_scope_that_was_written_to_is_maintained_once_after_its_last_task(
    worker: Worker, scope: Scope
) -> None:
    other = Scope(tenant="acme", collection="other")
    await submit(worker.catalog, scope, "a", "b")
    await submit(worker.catalog, other, "c")
    await worker.queue().drain()
    assert len(worker.maintained) == 2
    assert set(worker.maintained) == {scope, other}


async def test_one_failing_document_does_not_stop_the_others(worker: Worker, scope: Scope) -> None:
    job = await submit(worker.catalog, scope, "a", "bad", "c")
    await worker.queue().drain()
    record = await worker.catalog.jobs.get(scope.tenant, job)
    assert (record.state, record.counts) == ("partial", {"succeeded": 2, "failed": 1})
    assert [failure["document_id"] for failure in record.failures] == ["bad"]


async def test_so_many_documents_are_under_way_at_once_and_no_more(
    worker: Worker, scope: Scope
) -> None:
    names = [f"d{i:02}" for i in range(3 * IN_FLIGHT)]
    await submit(worker.catalog, scope, *names)
    await worker.queue().drain()
    assert worker.seen == names
    assert worker.most_at_once == IN_FLIGHT


async def test_tasks_submitted_while_it_drains_are_taken_too(worker: Worker, scope: Scope) -> None:
    async def more(task: Task) -> None:
        if task.document_id == "a":
            await submit(worker.catalog, scope, "later")

    worker.before = more
    await submit(worker.catalog, scope, "a")
    await worker.queue().drain()
    assert worker.seen == ["a", "later"]


async def test_a_started_queue_works_whenever_it_is_woken(worker: Worker, scope: Scope) -> None:
    queue = worker.queue()
    async with queue.started():
        for name in ("a", "b"):
            job = await submit(worker.catalog, scope, name)
            queue.wake()
            await succeeded(worker.catalog, scope, job)
    assert worker.seen == ["a", "b"]


async def test_a_new_document_does_not_wait_for_a_long_one(worker: Worker, scope: Scope) -> None:
    gate = asyncio.Event()

    async def long(task: Task) -> None:
        if task.document_id == "long":
            await gate.wait()

    worker.before = long
    queue = worker.queue()
    async with queue.started():
        first = await submit(worker.catalog, scope, "long")
        queue.wake()

        async def begun() -> bool:
            return worker.seen == ["long"]

        await until(begun)
        second = await submit(worker.catalog, scope, "short")
        queue.wake()
        await succeeded(worker.catalog, scope, second)
        assert (await worker.catalog.jobs.get(scope.tenant, first)).state == "running"
        gate.set()


@pytest.mark.parametrize("kind", [UpstreamError, OSError])
async def test_a_queue_outlives_what_goes_wrong_in_it(
    worker: Worker,
    scope: Scope,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: type[Exception],
) -> None:
    monkeypatch.setattr("workers.local_queue.RETRY_SECONDS", 0.01)
    wrong: list[Exception] = [OSError("a bug"), kind("The index is away.")]

    async def crash(_task: Task) -> None:
        if len(wrong) == 2:
            raise wrong.pop(0)

    async def away(_scope: Scope) -> None:
        if wrong:
            raise wrong.pop()

    worker.before = crash
    queue = LocalQueue(catalog=worker.catalog, ingest=worker.ingest, maintain=away)
    async with queue.started():
        for name in ("a", "b"):
            job = await submit(worker.catalog, scope, name)
            queue.wake()
            await succeeded(worker.catalog, scope, job)
            await asyncio.sleep(0.02)
    assert worker.seen == ["a", "a", "b"]
    assert "a bug" in caplog.text
    assert "The index is away." in caplog.text


async def test_what_was_under_way_at_the_end_runs_again_at_the_next_start(
    worker: Worker, scope: Scope
) -> None:
    worker.gate = asyncio.Event()
    names = [f"d{i:02}" for i in range(IN_FLIGHT + 3)]
    job = await submit(worker.catalog, scope, *names)

    async def full() -> bool:
        return len(worker.seen) == IN_FLIGHT

    async with worker.queue().started():
        await until(full)
    counts = (await worker.catalog.jobs.get(scope.tenant, job)).counts
    assert counts == {"running": IN_FLIGHT, "pending": 3}

    await worker.catalog.tasks.release()  # the next start
    again = Worker(worker.catalog)
    await again.queue().drain()
    assert again.seen == names
    assert (await worker.catalog.jobs.get(scope.tenant, job)).state == "succeeded"


async def test_a_cancelled_job_ends_after_what_is_under_way(worker: Worker, scope: Scope) -> None:
    worker.gate = asyncio.Event()
    job = await submit(worker.catalog, scope, *(f"d{i:02}" for i in range(IN_FLIGHT + 3)))
    draining = asyncio.create_task(worker.queue().drain())

    async def full() -> bool:
        return len(worker.seen) == IN_FLIGHT

    await until(full)
    await worker.catalog.jobs.cancel(scope.tenant, job)
    worker.gate.set()
    await draining
    record = await worker.catalog.jobs.get(scope.tenant, job)
    assert (record.state, record.counts) == ("cancelled", {"succeeded": IN_FLIGHT, "cancelled": 3})
    assert len(worker.seen) == IN_FLIGHT


async def test_a_full_disk_is_told_and_tried_again(
    worker: Worker,
    scope: Scope,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    failures = [StorageError("The disk is full.")]
    claim, sleep = worker.catalog.tasks.claim, asyncio.sleep

    async def full_once(limit: int, *, bulk: int | None = None) -> list[Task]:
        if failures:
            raise failures.pop()
        return await claim(limit, bulk=bulk)

    async def short(seconds: float) -> None:
        await sleep(seconds / 1000)

    monkeypatch.setattr(worker.catalog.tasks, "claim", full_once)
    monkeypatch.setattr("workers.local_queue.asyncio.sleep", short)
    await submit(worker.catalog, scope, "a")

    async def maintained() -> bool:
        return worker.maintained == [scope]

    with caplog.at_level(logging.ERROR):
        async with worker.queue().started():
            await until(maintained)
    assert "The ingest queue stopped: The disk is full. It tries again." in caplog.text
    assert worker.seen == ["a"]


async def test_a_catalog_that_is_away_is_told_once_and_found_as_it_returns(
    worker: Worker,
    scope: Scope,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    failures = [UpstreamError("PostgreSQL is away.") for _ in range(3)]
    claim = worker.catalog.tasks.claim

    async def away(limit: int, *, bulk: int | None = None) -> list[Task]:
        if failures:
            raise failures.pop()
        return await claim(limit, bulk=bulk)

    monkeypatch.setattr(worker.catalog.tasks, "claim", away)
    monkeypatch.setattr("workers.local_queue.RETRY_SECONDS", 3600.0)
    await submit(worker.catalog, scope, "a")

    async def maintained() -> bool:
        return worker.maintained == [scope]

    with caplog.at_level(logging.ERROR):
        async with worker.queue().started():
            await until(maintained)
    assert caplog.text.count("The ingest queue stopped: PostgreSQL is away.") == 1


async def test_slow_bulk_documents_leave_room_for_those_that_somebody_waits_for(
    worker: Worker, scope: Scope
) -> None:
    slow = asyncio.Event()

    async def before(task: Task) -> None:
        if task.document_id.startswith("slow"):
            await slow.wait()

    worker.before = before
    await submit(worker.catalog, scope, *(f"slow{n:02}" for n in range(30)), bulk=True)
    queue = worker.queue()
    async with queue.started():

        async def full() -> bool:
            return len(worker.seen) == IN_FLIGHT - KEPT_FREE

        await until(full)
        names = [f"d{n}" for n in range(2 * KEPT_FREE + 1)]
        job = await submit(worker.catalog, scope, *names)
        queue.wake()
        await succeeded(worker.catalog, scope, job)
        assert worker.seen[IN_FLIGHT - KEPT_FREE :] == names
        slow.set()
        await until(lambda: has_seen(worker, 30 + len(names)))


async def has_seen(worker: Worker, documents: int) -> bool:
    return len(worker.seen) == documents
