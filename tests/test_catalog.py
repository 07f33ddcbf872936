from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from rag.catalog import tables
from rag.catalog.catalog import Catalog
from rag.catalog.database import Database, PostgresDatabase, SqliteDatabase
from rag.catalog.forgetting import forget_text
from rag.catalog.jobs import SHOWN_FAILURES
from rag.catalog.tasks import LONGEST_WAIT
from rag.catalog.unsettled import Mark
from rag.errors import InputError, NotFoundError, StorageError, UpstreamError
from rag.records import GONE, Cut, DueTask, Submission, Switch, Task
from rag.types import Document, Heading, Scope, Table
from tests.postgres import PostgresServer

pytestmark = pytest.mark.anyio


@pytest.fixture
async def catalog(database: Database) -> Catalog:
    made = Catalog(database)
    await made.open()
    return made


def submission(name: str, **source: str) -> Submission:
    return Submission(
        document_id=name, uri=f"file:///{name}", source=source or {"path": f"/{name}"}, title=name
    )


def document(name: str, text: str = "text") -> Document:
    return Document(
        id=name,
        version=f"sha of {text}",
        uri=f"file:///{name}",
        media_type="text/plain",
        title=f"Title of {name}",
        text=text,
        meta={"n": 1, "tags": ("x", "y"), "draft": True},
    )


async def submit(catalog: Catalog, scope: Scope, *names: str) -> tuple[str, list[Task]]:
    """A job whose tasks are claimed."""
    await catalog.collections.claim(scope, "embedder-1")
    job = await catalog.jobs.submit(scope, [submission(name) for name in names])
    return job, await catalog.tasks.claim(100)


async def store(
    catalog: Catalog, scope: Scope, name: str, text: str = "text", duplicate_of: str | None = None
) -> None:
    _, [task] = await submit(catalog, scope, name)
    await succeed(catalog, task, text, duplicate_of=duplicate_of)


async def succeed(
    catalog: Catalog, task: Task, text: str = "text", *, duplicate_of: str | None = None
) -> None:
    await catalog.tasks.succeed(
        task,
        document(task.document_id, text),
        recipe="recipe",
        chunks=0 if duplicate_of else 3,
        duplicate_of=duplicate_of,
    )


# Collections


async def test_a_collection_keeps_the_embedder_it_was_made_with(
    catalog: Catalog, scope: Scope
) -> None:
    assert await catalog.collections.claim(scope, "first") == "first"
    assert await catalog.collections.claim(scope, "second") == "first"
    assert (await catalog.collections.get(scope)).embedder == "first"


async def test_an_unknown_collection_is_an_error_that_names_those_there_are(
    catalog: Catalog, scope: Scope
) -> None:
    with pytest.raises(NotFoundError, match="none yet; `rag ingest PATH` makes one"):
        await catalog.collections.get(scope)
    await catalog.collections.claim(replace(scope, collection="notes"), "e")
    with pytest.raises(NotFoundError, match=r"'handbook'\. Collections: notes") as caught:
        await catalog.collections.get(scope)
    assert caught.value.code == "unknown_collection"


async def test_collections_count_their_documents_and_chunks_and_come_by_name(
    catalog: Catalog, scope: Scope
) -> None:
    await store(catalog, scope, "a")
    await store(catalog, scope, "b", duplicate_of="a")
    await catalog.collections.claim(replace(scope, collection="empty"), "e")
    await catalog.collections.claim(replace(scope, tenant="rival"), "e")
    listed = [(c.name, c.documents, c.chunks) for c in await catalog.collections.of(scope.tenant)]
    assert listed == [("empty", 0, 0), ("handbook", 2, 3)]


# Documents


async def test_a_document_is_listed_from_the_moment_it_is_accepted(
    catalog: Catalog, scope: Scope
) -> None:
    job = await catalog.jobs.submit(scope, [submission("a")])
    record = await catalog.documents.get(scope, "a")
    assert (record.state, record.title, record.chunks) == ("pending", "a", 0)
    assert await catalog.documents.text(scope, "a") == ""
    with pytest.raises(NotFoundError, match="is pending") as caught:
        await catalog.documents.content(scope, "a")
    assert caught.value.code == "no_content"
    assert (await catalog.jobs.get(scope.tenant, job)).state == "pending"


async def test_a_text_is_kept_as_it_is(catalog: Catalog, scope: Scope) -> None:
    text = "\ufeffOne\r\ntwo \x01\x0b\x1b\x85\u2028 e\u0301 \U0010ffff \\x41 \\ "
    await store(catalog, scope, "a", text)
    assert await catalog.documents.text(scope, "a") == text
    assert (await catalog.documents.content(scope, "a")).decode() == text


async def test_a_stored_document_is_told_with_its_text(catalog: Catalog, scope: Scope) -> None:
    await store(catalog, scope, "a", "Zürich 東京")
    record = await catalog.documents.get(scope, "a")
    assert (record.state, record.chunks, record.error) == ("succeeded", 3, None)
    assert (record.title, record.media_type) == ("Title of a", "text/plain")
    assert record.version == "sha of Zürich 東京"
    assert record.meta == {"n": 1, "tags": ["x", "y"], "draft": True}
    assert await catalog.documents.text(scope, "a") == "Zürich 東京"


async def test_a_failure_keeps_what_was_stored_before(catalog: Catalog, scope: Scope) -> None:
    await store(catalog, scope, "a", "old")
    _, [task] = await submit(catalog, scope, "a")
    await catalog.tasks.fail(task, "no text")
    record = await catalog.documents.get(scope, "a")
    assert (record.state, record.error, record.chunks) == ("failed", "no text", 3)
    assert await catalog.documents.text(scope, "a") == "old"


async def test_submitting_again_forgets_the_error_and_keeps_the_age(
    catalog: Catalog, scope: Scope
) -> None:
    _, [task] = await submit(catalog, scope, "a")
    await catalog.tasks.fail(task, "no text")
    before = await catalog.documents.get(scope, "a")
    await catalog.jobs.submit(scope, [submission("a", spool="new")])
    after = await catalog.documents.get(scope, "a")
    assert (after.state, after.error) == ("pending", None)
    assert (after.created_at, after.source) == (before.created_at, {"spool": "new"})


async def test_an_unknown_document_is_an_error(catalog: Catalog, scope: Scope) -> None:
    with pytest.raises(NotFoundError, match="no document 'a' in collection 'handbook'"):
        await catalog.documents.get(scope, "a")


async def test_documents_are_listed_page_by_page_and_by_state(
    catalog: Catalog, scope: Scope
) -> None:
    await store(catalog, scope, "b")
    await catalog.jobs.submit(scope, [submission(name) for name in "dac"])
    first = await catalog.documents.page(scope, limit=2)
    rest = await catalog.documents.page(scope, limit=9, after=first[-1].id)
    assert [d.id for d in first + rest] == ["a", "b", "c", "d"]
    assert [d.id for d in await catalog.documents.page(scope, limit=9, state="succeeded")] == ["b"]


async def test_documents_are_listed_by_how_their_uris_begin(catalog: Catalog, scope: Scope) -> None:
    uris = ["file:///a/doc/1", "file:///a/doc/2", "file:///a/docs/3", "file:///a/dob/4", "ü:5"]
    long = "".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(64))
    listed = [Submission(document_id=uri[-1], uri=uri, source={}) for uri in [*uris, f"{long}6"]]
    await catalog.jobs.submit(scope, listed)
    await catalog.jobs.submit(replace(scope, collection="other"), listed)

    async def ids(prefix: str, **page: Any) -> str:
        found = await catalog.documents.page(scope, uri_prefix=prefix, **{"limit": 9} | page)
        return "".join(document.id for document in found)

    assert await ids("file:///a/doc") == "123"
    assert await ids("file:///a/doc/") == "12"
    assert await ids("file:///a/doc/", after="1") == "2"
    assert await ids("file:///a/do%") == await ids("FILE") == ""
    assert await ids("ü") == "5"
    assert await ids(long) == "6"


async def test_the_beginning_of_a_uri_is_looked_up_in_an_index(
    catalog: Catalog, database: Database, scope: Scope
) -> None:
    ran: list[tuple[str, Any]] = []

    def note(_db: object, _cursor: object, sql: str, values: Any, *_: object) -> None:
        ran.append((sql, values))

    sa.event.listen(sa.engine.Engine, "before_cursor_execute", note)
    try:
        await catalog.documents.page(scope, limit=9, uri_prefix="file:///a/")
    finally:
        sa.event.remove(sa.engine.Engine, "before_cursor_execute", note)
    [(sql, values)] = [(sql, values) for sql, values in ran if "documents" in sql]
    async with database.write() as db:
        postgres = isinstance(database, PostgresDatabase)
        if postgres:
            # On a table this small PostgreSQL would read all of it.
            await db.exec_driver_sql("SET LOCAL enable_seqscan = off")
        how = "EXPLAIN" if postgres else "EXPLAIN QUERY PLAN"
        plan = (await db.exec_driver_sql(f"{how} {sql}", values)).all()
    assert "documents_by_uri" in str(plan), plan


async def test_scopes_do_not_see_each_others_documents(catalog: Catalog, scope: Scope) -> None:
    other = replace(scope, tenant="rival")
    await store(catalog, scope, "a", "mine")
    await store(catalog, other, "a", "theirs")
    await catalog.documents.delete(other, "a")
    assert await catalog.documents.text(scope, "a") == "mine"
    assert await catalog.documents.text(other, "a") == ""
    assert await catalog.documents.page(other, limit=9) == []
    assert await catalog.documents.same_content(other, "sha of mine") is None


async def test_a_deleted_document_is_forgotten_and_its_tasks_are_cancelled(
    catalog: Catalog, scope: Scope
) -> None:
    await store(catalog, scope, "a")
    job = await catalog.jobs.submit(scope, [submission("a"), submission("b")])
    await catalog.documents.delete(scope, "a")
    with pytest.raises(NotFoundError):
        await catalog.documents.get(scope, "a")
    assert await catalog.documents.text(scope, "a") == ""
    assert [task.document_id for task in await catalog.tasks.claim(9)] == ["b"]
    assert (await catalog.jobs.get(scope.tenant, job)).counts == {"cancelled": 1, "running": 1}


# Equal contents


async def test_the_oldest_stored_document_stands_for_its_bytes(
    catalog: Catalog, scope: Scope
) -> None:
    await store(catalog, scope, "a", "same")
    await store(catalog, scope, "b", "same", duplicate_of="a")
    await store(catalog, scope, "c", "other")
    same = await catalog.documents.same_content(scope, "sha of same")
    assert same is not None
    assert same.id == "a"
    assert await catalog.documents.same_content(scope, "sha of nothing") is None


async def test_the_first_heir_stands_for_the_bytes_and_the_others_lean_on_it(
    catalog: Catalog, scope: Scope
) -> None:
    await store(catalog, scope, "a", "same")
    for name in "bcd":
        await store(catalog, scope, name, "same", duplicate_of="a")
    heirs = await catalog.documents.duplicates(scope, "a")
    assert {heir.id for heir in heirs} == {"b", "c", "d"}
    await catalog.documents.inherit(scope, heirs, chunks=7, recipe="another")
    records = {d.id: d for d in await catalog.documents.page(scope, limit=9)}
    first, *others = (heir.id for heir in heirs)
    assert (records[first].duplicate_of, records[first].chunks) == (None, 7)
    assert records[first].recipe == "another"
    assert {records[other].duplicate_of for other in others} == {first}
    assert await catalog.documents.duplicates(scope, "a") == []


# Tasks and jobs


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
    await catalog.tasks.fail(task, "no")
    assert await catalog.documents.all_spooled() == {"key"}  # it may be retried
    assert await catalog.documents.delete(scope, "a") == {"key"}
    assert await catalog.documents.all_spooled() == set()


async def test_what_is_sent_again_in_the_midst_of_a_deletion_is_cancelled_with_it(
    postgres: PostgresServer, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog(PostgresDatabase(postgres.new_database()))
    await catalog.open()
    await catalog.jobs.submit(scope, [submission("a", spool="first")])

    async def sent_again(*given: Any) -> None:
        await catalog.jobs.submit(scope, [submission("a", spool="second")])
        await forget_text(*given)

    monkeypatch.setattr("rag.catalog.documents.forget_text", sent_again)
    assert await catalog.documents.delete(scope, "a") == {"first", "second"}
    assert await catalog.documents.all_spooled() == set()
    await catalog.close()


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
    await catalog.tasks.fail(task, "Broken.")
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


async def test_a_long_job_is_retried_in_no_time(catalog: Catalog, scope: Scope) -> None:
    job = await catalog.jobs.submit(scope, [submission(str(n)) for n in range(10_000)])
    [first] = await catalog.tasks.claim(1)
    await catalog.tasks.fail(first, "Broken.")
    async with asyncio.timeout(60):  # in the square of its documents it would take hours
        assert (await catalog.jobs.retry(scope.tenant, job)).counts == {"pending": 10_000}


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
    await catalog.tasks.give_again([("parse", False)], older_than=60)
    async with catalog.tasks.outbox(9) as again:
        assert again == []
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 61)
    await catalog.tasks.give_again([("embed", False)], older_than=60)
    await catalog.tasks.give_again([("parse", True)], older_than=60)
    async with catalog.tasks.outbox(9) as again:
        assert again == due[1:]
    await catalog.tasks.give_again([("parse", False)], older_than=60)
    async with catalog.tasks.outbox(9) as again:
        assert again == due[:1]
    [task] = await catalog.tasks.get([due[0].id])
    await catalog.tasks.put_back(task, seconds=-1)
    async with catalog.tasks.outbox(9) as again:
        assert again == due[:1]
    assert await catalog.tasks.get([12345, task.id]) == [task]


async def test_retrying_a_job_takes_up_what_failed_and_nothing_else(
    catalog: Catalog, scope: Scope
) -> None:
    job, [good, bad, mended] = await submit(catalog, scope, "good", "bad", "mended")
    await succeed(catalog, good)
    await catalog.tasks.fail(bad, "Broken.")
    await catalog.tasks.fail(mended, "Broken.")
    await store(catalog, scope, "mended")  # by another job since
    record = await catalog.jobs.retry(scope.tenant, job)
    assert record.counts == {"succeeded": 1, "pending": 1, "failed": 1}
    assert [task.document_id for task in await catalog.tasks.claim(9)] == ["bad"]
    with pytest.raises(NotFoundError, match="no job 'x'"):
        await catalog.jobs.retry(scope.tenant, "x")


async def test_cancelling_ends_what_has_not_begun(catalog: Catalog, scope: Scope) -> None:
    job = await catalog.jobs.submit(scope, [submission(name) for name in "abc"])
    [running] = await catalog.tasks.claim(1)
    record = await catalog.jobs.cancel(scope.tenant, job)
    assert (record.state, record.counts) == ("running", {"running": 1, "cancelled": 2})
    assert await catalog.tasks.claim(9) == []
    assert (await catalog.documents.get(scope, "b")).state == "cancelled"
    await succeed(catalog, running)
    assert (await catalog.jobs.get(scope.tenant, job)).state == "cancelled"
    assert (await catalog.documents.get(scope, "a")).state == "succeeded"


async def test_cancelling_does_not_deadlock_with_what_begins(
    catalog: Catalog, database: Database, scope: Scope
) -> None:
    job = await catalog.jobs.submit(scope, [submission("a")])
    async with database.write() as db:
        await db.execute(tables.tasks.update().values(state="running"))
        cancelling = asyncio.create_task(catalog.jobs.cancel(scope.tenant, job))
        await asyncio.sleep(0.3)
        await db.execute(tables.documents.update().values(state="running"))
    assert (await cancelling).counts == {"running": 1}


async def test_cancelling_leaves_documents_that_another_job_waits_for(
    catalog: Catalog, scope: Scope
) -> None:
    first = await catalog.jobs.submit(scope, [submission("a")])
    await catalog.jobs.submit(scope, [submission("a")])
    await catalog.jobs.cancel(scope.tenant, first)
    assert (await catalog.documents.get(scope, "a")).state == "pending"
    assert len(await catalog.tasks.claim(9)) == 1


async def test_cancelling_keeps_what_is_stored_of_a_document(
    catalog: Catalog, scope: Scope
) -> None:
    await store(catalog, scope, "a")
    job = await catalog.jobs.submit(scope, [submission("a")])
    await catalog.jobs.cancel(scope.tenant, job)
    record = await catalog.documents.get(scope, "a")
    assert (record.state, record.chunks) == ("cancelled", 3)
    assert await catalog.documents.text(scope, "a") == "text"


async def test_cancelling_a_job_that_has_ended_changes_nothing(
    catalog: Catalog, scope: Scope
) -> None:
    job, [task] = await submit(catalog, scope, "a")
    await succeed(catalog, task)
    assert (await catalog.jobs.cancel(scope.tenant, job)).state == "succeeded"


async def test_an_unknown_job_is_an_error(catalog: Catalog) -> None:
    for call in (catalog.jobs.get, catalog.jobs.cancel):
        with pytest.raises(NotFoundError, match="no job 'x'"):
            await call("acme", "x")


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ("", "succeeded"),
        ("ss", "succeeded"),
        ("su", "succeeded"),
        ("ff", "failed"),
        ("sf", "partial"),
        ("uf", "partial"),
    ],
)
async def test_the_state_of_a_job_follows_from_its_documents(
    catalog: Catalog, scope: Scope, outcomes: str, state: str
) -> None:
    job, tasks = await submit(catalog, scope, *(f"d{i}" for i in range(len(outcomes))))
    for task, outcome in zip(tasks, outcomes, strict=True):
        assert (await catalog.jobs.get(scope.tenant, job)).state == "running"
        match outcome:
            case "s":
                await succeed(catalog, task)
            case "u":
                await catalog.tasks.unchanged(task, document(task.document_id))
            case _:
                await catalog.tasks.fail(task, "no text")
    assert (await catalog.jobs.get(scope.tenant, job)).state == state


async def test_a_job_names_its_first_failures_and_counts_all(
    catalog: Catalog, scope: Scope
) -> None:
    await catalog.collections.claim(scope, "e")
    names = [f"d{i:03}" for i in range(SHOWN_FAILURES + 5)]
    job = await catalog.jobs.submit(scope, [submission(name) for name in names])
    for task in await catalog.tasks.claim(len(names)):
        await catalog.tasks.fail(task, f"{task.document_id} is no text")
    record = await catalog.jobs.get(scope.tenant, job)
    assert record.counts == {"failed": len(names)}
    assert len(record.failures) == SHOWN_FAILURES
    assert dict(record.failures[0]) == {
        "document_id": "d000",
        "uri": "file:///d000",
        "error": "d000 is no text",
    }
    assert record.error == "d000 is no text"


async def test_a_job_counts_its_outcomes_by_kind(catalog: Catalog, scope: Scope) -> None:
    job, tasks = await submit(catalog, scope, "a", "b", "c")
    await succeed(catalog, tasks[0])
    await succeed(catalog, tasks[1], duplicate_of="a")
    await catalog.tasks.unchanged(tasks[2], document("c"))
    outcomes = (await catalog.jobs.get(scope.tenant, job)).outcomes
    assert outcomes == {"stored": 1, "duplicate": 1, "unchanged": 1}


async def test_a_document_stays_pending_while_a_newer_task_waits_for_it(
    catalog: Catalog, scope: Scope
) -> None:
    _, [old] = await submit(catalog, scope, "a")
    await catalog.jobs.submit(scope, [submission("a")])
    await succeed(catalog, old)
    assert (await catalog.documents.get(scope, "a")).state == "pending"
    [new] = await catalog.tasks.claim(9)
    await catalog.tasks.unchanged(new, document("a"))
    assert (await catalog.documents.get(scope, "a")).state == "succeeded"


# Disk


async def test_a_damaged_file_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "catalog.sqlite").write_bytes(b"this is no database at all" * 100)
    catalog = Catalog(SqliteDatabase(tmp_path / "catalog.sqlite"))
    with pytest.raises(StorageError, match="restore it from a backup") as caught:
        await catalog.open()
    assert "not a database" in caught.value.in_full()
    assert str(tmp_path) not in str(caught.value)
    await catalog.close()


# What is kept to be chunked again


def whole_document(name: str) -> Document:
    return replace(
        document(name, "# One\n\na b\n\n1 2"),
        pages=(0, 7),
        headings=(Heading(start=0, level=1, text="One"),),
        tables=(Table(start=7, end=15, header="a b"),),
        furniture=((0, 5),),
        meta={"n": 1, "x": 1.0, "draft": True, "tags": ("x", 2, 2.0, False), "none": ()},
    )


async def test_a_stored_document_comes_back_as_it_was(catalog: Catalog, scope: Scope) -> None:
    stored = whole_document("a")
    _, [task] = await submit(catalog, scope, "a")
    await catalog.tasks.succeed(task, stored, recipe="r", chunks=1, duplicate_of=None)
    found = await catalog.documents.stored(scope, "a")
    assert found == stored
    assert repr(found) == repr(stored)  # 1, 1.0 and True are equal, and are not the same
    await catalog.documents.check_complete(scope)


async def test_what_an_older_version_stored_is_named_until_it_is_ingested_again(
    catalog: Catalog, database: Database, scope: Scope
) -> None:
    await store(catalog, scope, "a")
    async with database.write() as db:
        await db.execute(sa.update(tables.texts).values(structure=None))
    for ask in (catalog.documents.check_complete(scope), catalog.documents.stored(scope, "a")):
        with pytest.raises(InputError, match=r"file:///a\. Ingest them once more") as caught:
            await ask
        assert caught.value.code == "incomplete_documents"
    _, [task] = await submit(catalog, scope, "a")
    await catalog.tasks.unchanged(task, document("a"))
    await catalog.documents.check_complete(scope)
    assert await catalog.documents.stored(scope, "a") == document("a")


# Versions of an index


def cut(text: str, *, recipe: str, chunks: int, duplicate_of: str | None = None) -> Cut:
    version = document("any", text).version
    return Cut(version=version, duplicate_of=duplicate_of, recipe=recipe, chunks=chunks)


async def test_a_switch_is_recorded_with_the_way_back(catalog: Catalog, scope: Scope) -> None:
    await store(catalog, scope, "a")
    await store(catalog, scope, "b", duplicate_of="a")
    await store(catalog, scope, "changed", "since it was cut")
    assert await catalog.versions.previous(scope) is None
    assert await catalog.versions.document_ids(scope) == ["a", "b", "changed"]
    before = {d.id: d for d in await catalog.documents.page(scope, limit=9)}
    cuts = {
        "a": cut("text", recipe="new", chunks=7),
        "b": cut("text", recipe="new", chunks=0, duplicate_of="a"),
        "changed": cut("text", recipe="new", chunks=5),
        "gone": cut("text", recipe="new", chunks=5),
    }
    async with catalog.versions.switching(scope, cuts, embedder="embedder-2"):
        pass
    after = {d.id: d for d in await catalog.documents.page(scope, limit=9)}
    new_a = replace(before["a"], recipe="new", chunks=7)
    new_b = replace(before["b"], recipe="new", chunks=0)
    changed = replace(before["changed"], recipe="")
    assert after == {"a": new_a, "b": new_b, "changed": changed}
    assert (await catalog.collections.get(scope)).embedder == "embedder-2"
    known = await catalog.versions.previous(scope)
    assert known is not None
    embedder, kept = known
    assert embedder == "embedder-1"
    assert {id_: (c.recipe, c.chunks) for id_, c in kept.items()} == {
        id_: (before[id_].recipe, before[id_].chunks) for id_ in ("a", "b")
    }
    async with catalog.versions.switching(scope, kept, embedder=embedder):
        pass
    back = {d.id: d for d in await catalog.documents.page(scope, limit=9)}
    assert back == before | {"changed": changed}
    await catalog.versions.recut(scope, "a", cuts["a"])
    assert await catalog.documents.get(scope, "a") == new_a


async def test_a_switch_that_fails_is_not_recorded(catalog: Catalog, scope: Scope) -> None:
    await store(catalog, scope, "a")
    before = await catalog.documents.get(scope, "a")
    cuts = {"a": cut("text", recipe="new", chunks=7)}
    with pytest.raises(RuntimeError):
        async with catalog.versions.switching(scope, cuts, embedder="embedder-2"):
            raise RuntimeError
    assert await catalog.documents.get(scope, "a") == before
    assert (await catalog.collections.get(scope)).embedder == "embedder-1"


# Cut short


async def abandoned(catalog: Catalog, *, deleted: bool) -> list[str]:
    """One mark at a time, as a large table is read."""
    found: list[Mark] = []
    while True:
        after = found[-1] if found else None
        page = await catalog.unsettled.abandoned(deleted=deleted, after=after, limit=1)
        if not page:
            return [mark.document_id for mark in found]
        found += page


async def test_a_document_is_marked_until_the_catalog_says_what_it_has_become(
    catalog: Catalog, scope: Scope
) -> None:
    for name in "abc":
        await store(catalog, scope, name, f"text of {name}")
    for name in "abc":
        await catalog.unsettled.add(scope, name)
        await catalog.unsettled.add(scope, name)
    assert (await catalog.documents.get(scope, "a")).recipe == ""  # it is not to count as unchanged
    assert await abandoned(catalog, deleted=False) == ["a", "b", "c"]
    assert await abandoned(catalog, deleted=True) == []
    _, [task] = await submit(catalog, scope, "b")
    assert await abandoned(catalog, deleted=False) == ["a", "c"]
    await succeed(catalog, task, "text of b")
    await catalog.versions.recut(scope, "c", cut("text of c", recipe="new", chunks=2))
    assert await abandoned(catalog, deleted=False) == ["a"]
    await catalog.unsettled.remove(scope, "a")
    assert await abandoned(catalog, deleted=False) == []


async def test_what_a_deleted_document_had_is_known_until_the_index_has_forgotten_it(
    catalog: Catalog, scope: Scope
) -> None:
    await store(catalog, scope, "a")
    await catalog.documents.delete(scope, "a")
    mark = await catalog.unsettled.of(scope, "a")
    assert mark is not None
    assert mark.held == cut("text", recipe="recipe", chunks=3)
    assert await abandoned(catalog, deleted=True) == ["a"]
    _, [task] = await submit(catalog, scope, "a")
    assert await abandoned(catalog, deleted=True) == []  # the task will see to it
    await catalog.documents.delete(scope, "a")
    assert await catalog.unsettled.of(scope, "a") == mark
    assert await abandoned(catalog, deleted=True) == ["a"]
    assert not await catalog.tasks.begin(task)
    await catalog.documents.delete(scope, "nobody")
    assert await catalog.unsettled.of(scope, "nobody") is None


async def test_an_heir_is_marked_until_it_stands_for_the_bytes(
    catalog: Catalog, scope: Scope
) -> None:
    await store(catalog, scope, "a")
    await store(catalog, scope, "b", duplicate_of="a")
    await catalog.unsettled.add(scope, "b")
    heirs = await catalog.documents.duplicates(scope, "a")
    assert await catalog.documents.inherit(scope, heirs, chunks=3, recipe="recipe")
    assert await catalog.unsettled.of(scope, "b") is None
    assert (await catalog.documents.get(scope, "b")).recipe == "recipe"


async def test_the_deletion_of_an_heir_stays_open_where_it_is_to_inherit(
    catalog: Catalog, scope: Scope
) -> None:
    for name, original in (("a", None), ("b", "a"), ("c", "a")):
        await store(catalog, scope, name, duplicate_of=original)
    heirs = await catalog.documents.duplicates(scope, "a")
    await catalog.documents.delete(scope, heirs[0].id)
    assert not await catalog.documents.inherit(scope, heirs, chunks=3, recipe="recipe")
    assert await catalog.unsettled.of(scope, heirs[0].id) is not None
    assert (await catalog.documents.get(scope, heirs[1].id)).duplicate_of == "a"


async def test_a_switch_is_staged_until_it_is_recorded_or_dropped(
    catalog: Catalog, scope: Scope
) -> None:
    for name in ("a", "changed", "deleted"):
        await store(catalog, scope, name, f"text of {name}")
    made = {
        name: cut(f"text of {name}", recipe="new", chunks=7) for name in ("a", "changed", "deleted")
    }
    assert await catalog.staged.scopes() == []
    assert await catalog.staged.of(scope) is None
    first = Switch(version="v1", embedder="embedder-1", cuts=made)
    await catalog.staged.add(scope, first)
    assert await catalog.staged.of(scope) == first
    await catalog.staged.drop(scope)
    assert await catalog.staged.of(scope) is None
    second = Switch(version="v2", embedder="embedder-2", cuts=made)
    await catalog.staged.add(scope, second)
    assert await catalog.staged.scopes() == [scope]
    await catalog.unsettled.add(scope, "changed")  # somebody writes to it
    await catalog.versions.recut(scope, "changed", cut("text of changed", recipe="other", chunks=4))
    await catalog.documents.delete(scope, "deleted")
    await catalog.unsettled.remove(scope, "deleted")
    await store(catalog, scope, "added")
    found = await catalog.staged.of(scope)
    assert found == replace(second, cuts={"a": made["a"], "changed": GONE, "deleted": GONE})
    async with catalog.versions.switching(scope, found.cuts, embedder=found.embedder):
        pass
    assert await catalog.staged.scopes() == []
    assert (await catalog.documents.get(scope, "a")).chunks == 7
    assert (await catalog.documents.get(scope, "changed")).chunks == 4
    assert await abandoned(catalog, deleted=False) == ["added", "changed", "deleted"]
