from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rag.catalog.catalog import Catalog
from rag.catalog.sqlite_database import SqliteDatabase
from rag.catalog.tasks import LONGEST_WAIT
from rag.errors import UpstreamError
from rag.records import DueTask
from rag.types import Heading, Scope
from tests.catalogs import document, submission, submit, succeed

pytestmark = pytest.mark.anyio


async def test_tasks_are_claimed_once_oldest_first(catalog: Catalog, scope: Scope) -> None:
    await catalog.jobs.submit(scope, [submission("a"), submission("b")])
    await catalog.jobs.submit(scope, [submission("c")])
    claims = await asyncio.gather(*(catalog.tasks.claim(1) for _ in range(4)))
    assert sorted(task.document_id for tasks in claims for task in tasks) == ["a", "b", "c"]
    assert (await catalog.documents.get(scope, "a")).state == "pending"
    [[first]] = [claim for claim in claims if claim and claim[0].document_id == "a"]
    assert await catalog.tasks.begin(first)
    assert (await catalog.documents.get(scope, "a")).state == "running"


async def test_a_task_says_where_its_bytes_lie(catalog: Catalog, scope: Scope) -> None:
    job = await catalog.jobs.submit(scope, [submission("a", spool="key")])
    [task] = await catalog.tasks.claim(1)
    assert (task.job_id, task.scope, task.uri) == (job, scope, "file:///a")
    assert task.source == {"spool": "key"}
    assert await catalog.documents.all_spooled() == {"key"}
    await catalog.outcomes.fail(task, "no")
    assert await catalog.documents.all_spooled() == {"key"}  # it may be retried
    assert await catalog.documents.delete(scope, "a") == {"key"}
    assert await catalog.documents.all_spooled() == set()


async def test_what_ran_when_the_process_died_is_pending_again(scope: Scope, folder: Path) -> None:
    catalog = Catalog(SqliteDatabase(folder / "catalog.sqlite"))
    await catalog.open()
    job, _ = await submit(catalog, scope, "a")
    await catalog.jobs.submit(scope, [submission("b")])
    await catalog.close()
    again = Catalog(SqliteDatabase(folder / "catalog.sqlite"))
    await again.open()
    await again.tasks.release()
    assert (await again.documents.get(scope, "a")).state == "pending"
    assert [task.document_id for task in await again.tasks.claim(9)] == ["a", "b"]
    assert (await again.jobs.get(scope.tenant, job)).state == "running"
    await again.close()


async def test_a_task_that_is_put_off_is_claimed_when_it_is_due(
    catalog: Catalog, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, [task] = await submit(catalog, scope, "a")
    assert await catalog.tasks.next_due() is None
    await catalog.tasks.postpone(task, "Not now.", seconds=30)
    assert await catalog.tasks.claim(9) == []
    assert 29 < (await catalog.tasks.next_due() or 0) <= 30
    record = await catalog.documents.get(scope, "a")
    assert (record.state, record.error) == ("pending", "Not now.")
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 31)
    assert [t.attempts for t in await catalog.tasks.claim(9)] == [1]


async def test_a_clock_that_was_moved_back_delays_nothing_for_long(
    catalog: Catalog, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, [task] = await submit(catalog, scope, "a")
    await catalog.tasks.postpone(task, "Not now.", seconds=30)
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now - 86_400)
    assert (await catalog.tasks.next_due() or 0) <= LONGEST_WAIT
    assert len(await catalog.tasks.claim(9)) == 1


async def test_bulk_waits_for_all_else(catalog: Catalog, scope: Scope) -> None:
    await catalog.jobs.submit(scope, [submission("bulk")], bulk=True)
    await catalog.jobs.submit(scope, [submission("now")])
    assert [task.document_id for task in await catalog.tasks.claim(9)] == ["now", "bulk"]


async def test_a_task_begins_unless_it_is_settled_cancelled_or_gone(
    catalog: Catalog, scope: Scope
) -> None:
    _, [done, gone, runs] = await submit(catalog, scope, "done", "gone", "runs")
    job = await catalog.jobs.submit(scope, [submission("late")])
    [late] = await catalog.tasks.claim(1)
    assert await catalog.tasks.begin(runs)
    await succeed(catalog, done)
    await catalog.documents.delete(scope, "gone")
    await catalog.tasks.postpone(late, "Not now.", seconds=30)
    assert await catalog.tasks.begin(late)
    await catalog.tasks.postpone(late, "Not now.", seconds=30)
    await catalog.jobs.cancel(scope.tenant, job)
    assert [await catalog.tasks.begin(task) for task in (done, gone, late)] == [False] * 3


async def test_a_task_is_done_without_when_a_newer_one_of_its_document_was_first(
    catalog: Catalog, scope: Scope
) -> None:
    job, [older] = await submit(catalog, scope, "a")
    await catalog.tasks.postpone(older, "Not now.", seconds=0)
    newer_job, tasks = await submit(catalog, scope, "a")
    newer = tasks[-1]
    assert await catalog.tasks.begin(older)  # the newer one may yet fail
    await catalog.tasks.postpone(older, "Not now.", seconds=0)
    await succeed(catalog, newer, "newer")
    assert not await catalog.tasks.begin(older)
    assert (await catalog.jobs.get(scope.tenant, job)).outcomes == {"unchanged": 1}
    assert (await catalog.jobs.get(scope.tenant, newer_job)).outcomes == {"stored": 1}
    record = await catalog.documents.get(scope, "a")
    assert (record.state, record.error) == ("succeeded", None)
    assert await catalog.documents.text(scope, "a") == "newer"


async def test_what_was_parsed_waits_for_whoever_embeds_it(catalog: Catalog, scope: Scope) -> None:
    job, [task] = await submit(catalog, scope, "a")
    assert await catalog.tasks.draft(task) is None
    assert await catalog.tasks.begin(task)
    read = replace(document("a", "text"), headings=(Heading(start=0, level=1, text="T"),))
    await catalog.tasks.parsed(task, read)
    assert (await catalog.jobs.get(scope.tenant, job)).counts == {"pending": 1}
    assert (await catalog.jobs.get(scope.tenant, job)).stages == {"embed": 1}
    async with catalog.tasks.outbox(9) as due:
        assert due == [DueTask(task.id, "embed", bulk=False)]
    [waiting] = await catalog.tasks.claim(9)
    assert (waiting.id, waiting.stage) == (task.id, "embed")
    assert await catalog.tasks.draft(waiting) == read
    await succeed(catalog, waiting, "text")
    assert await catalog.tasks.draft(waiting) is None
    assert (await catalog.jobs.get(scope.tenant, job)).stages == {}


async def test_what_failed_after_it_was_parsed_is_read_again(
    catalog: Catalog, scope: Scope
) -> None:
    job, [task] = await submit(catalog, scope, "a")
    await catalog.tasks.parsed(task, document("a", "text"))
    [task] = await catalog.tasks.claim(9)
    await catalog.outcomes.fail(task, "Broken.")
    assert (await catalog.jobs.retry(scope.tenant, job)).stages == {"parse": 1}
    assert await catalog.tasks.draft(task) is None


async def test_a_cancelled_task_is_not_parsed_after_all(catalog: Catalog, scope: Scope) -> None:
    await catalog.collections.claim(scope, "embedder-1")
    job = await catalog.jobs.submit(scope, [submission("a")])
    async with catalog.tasks.outbox(1) as due:
        [task] = await catalog.tasks.get([due[0].id])
    await catalog.jobs.cancel(scope.tenant, job)
    await catalog.tasks.parsed(task, document("a", "text"))
    assert (await catalog.jobs.get(scope.tenant, job)).counts == {"cancelled": 1}


async def test_what_has_not_begun_in_its_time_fails_and_can_be_retried(
    catalog: Catalog, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    await catalog.collections.claim(scope, "embedder-1")
    job = await catalog.jobs.submit(scope, [submission("a"), submission("b")], expires_in=60)
    first, second = await catalog.tasks.claim(2)
    assert await catalog.tasks.begin(first)
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 61)
    assert not await catalog.tasks.begin(second)
    assert await catalog.tasks.begin(first)  # once it has begun it may take its time
    await succeed(catalog, first, "text")
    record = await catalog.jobs.get(scope.tenant, job)
    assert record.counts == {"succeeded": 1, "failed": 1}
    assert "expires_in" in (record.error or "")
    await catalog.jobs.retry(scope.tenant, job)
    [again] = await catalog.tasks.claim(9)
    assert await catalog.tasks.begin(again)


async def test_the_outbox_holds_what_no_broker_was_given(
    catalog: Catalog, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    await catalog.jobs.submit(scope, [submission("a")])
    await catalog.jobs.submit(scope, [submission("b")], bulk=True)
    with pytest.raises(UpstreamError):
        async with catalog.tasks.outbox(9):
            raise UpstreamError("The broker is down.")
    async with catalog.tasks.outbox(9) as due:
        assert [task.bulk for task in due] == [False, True]
    async with catalog.tasks.outbox(9) as again:
        assert again == []
    await catalog.tasks.requeue([("parse", False)], older_than=60)
    async with catalog.tasks.outbox(9) as again:
        assert again == []
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 61)
    await catalog.tasks.requeue([("embed", False)], older_than=60)
    await catalog.tasks.requeue([("parse", True)], older_than=60)
    async with catalog.tasks.outbox(9) as again:
        assert again == due[1:]
    await catalog.tasks.requeue([("parse", False)], older_than=60)
    async with catalog.tasks.outbox(9) as again:
        assert again == due[:1]
    [task] = await catalog.tasks.get([due[0].id])
    await catalog.tasks.put_back(task, seconds=-1)
    async with catalog.tasks.outbox(9) as again:
        assert again == due[:1]
    assert await catalog.tasks.get([12345, task.id]) == [task]


async def test_a_document_stays_pending_while_a_newer_task_waits_for_it(
    catalog: Catalog, scope: Scope
) -> None:
    _, [old] = await submit(catalog, scope, "a")
    await catalog.jobs.submit(scope, [submission("a")])
    await succeed(catalog, old)
    assert (await catalog.documents.get(scope, "a")).state == "pending"
    [new] = await catalog.tasks.claim(9)
    await catalog.outcomes.unchanged(new, document("a"))
    assert (await catalog.documents.get(scope, "a")).state == "succeeded"
