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
from rag.catalog.catalog import LONGEST_WAIT, SHOWN_FAILURES, Catalog
from rag.catalog.database import Database, PostgresDatabase, SqliteDatabase
from rag.catalog.forgetting import forget_text
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
    await catalog.claim_collection(scope, "embedder-1")
    job = await catalog.submit(scope, [submission(name) for name in names])
    return job, await catalog.claim(100)


async def store(
    catalog: Catalog, scope: Scope, name: str, text: str = "text", duplicate_of: str | None = None
) -> None:
    _, [task] = await submit(catalog, scope, name)
    await succeed(catalog, task, text, duplicate_of=duplicate_of)


async def succeed(
    catalog: Catalog, task: Task, text: str = "text", *, duplicate_of: str | None = None
) -> None:
    await catalog.succeed(
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
    assert await catalog.claim_collection(scope, "first") == "first"
    assert await catalog.claim_collection(scope, "second") == "first"
    assert (await catalog.collection(scope)).embedder == "first"


async def test_an_unknown_collection_is_an_error_that_names_those_there_are(
    catalog: Catalog, scope: Scope
) -> None:
    with pytest.raises(NotFoundError, match="none yet; `rag ingest PATH` makes one"):
        await catalog.collection(scope)
    await catalog.claim_collection(replace(scope, collection="notes"), "e")
    with pytest.raises(NotFoundError, match=r"'handbook'\. Collections: notes") as caught:
        await catalog.collection(scope)
    assert caught.value.code == "unknown_collection"


async def test_collections_count_their_documents_and_chunks_and_come_by_name(
    catalog: Catalog, scope: Scope
) -> None:
    await store(catalog, scope, "a")
    await store(catalog, scope, "b", duplicate_of="a")
    await catalog.claim_collection(replace(scope, collection="empty"), "e")
    await catalog.claim_collection(replace(scope, tenant="rival"), "e")
    listed = [(c.name, c.documents, c.chunks) for c in await catalog.collections(scope.tenant)]
    assert listed == [("empty", 0, 0), ("handbook", 2, 3)]


# Documents


async def test_a_document_is_listed_from_the_moment_it_is_accepted(
    catalog: Catalog, scope: Scope
) -> None:
    job = await catalog.submit(scope, [submission("a")])
    record = await catalog.document(scope, "a")
    assert (record.state, record.title, record.chunks) == ("pending", "a", 0)
    assert await catalog.text(scope, "a") == ""
    with pytest.raises(NotFoundError, match="is pending") as caught:
        await catalog.content(scope, "a")
    assert caught.value.code == "no_content"
    assert (await catalog.job(job)).state == "pending"


async def test_a_text_is_kept_as_it_is(catalog: Catalog, scope: Scope) -> None:
    text = "\ufeffOne\r\ntwo \x01\x0b\x1b\x85\u2028 e\u0301 \U0010ffff \\x41 \\ "
    await store(catalog, scope, "a", text)
    assert await catalog.text(scope, "a") == text
    assert (await catalog.content(scope, "a")).decode() == text


async def test_a_stored_document_is_told_with_its_text(catalog: Catalog, scope: Scope) -> None:
    await store(catalog, scope, "a", "Zürich 東京")
    record = await catalog.document(scope, "a")
    assert (record.state, record.chunks, record.error) == ("succeeded", 3, None)
    assert (record.title, record.media_type) == ("Title of a", "text/plain")
    assert record.version == "sha of Zürich 東京"
    assert record.meta == {"n": 1, "tags": ["x", "y"], "draft": True}
    assert await catalog.text(scope, "a") == "Zürich 東京"


async def test_a_failure_keeps_what_was_stored_before(catalog: Catalog, scope: Scope) -> None:
    await store(catalog, scope, "a", "old")
    _, [task] = await submit(catalog, scope, "a")
    await catalog.fail(task, "no text")
    record = await catalog.document(scope, "a")
    assert (record.state, record.error, record.chunks) == ("failed", "no text", 3)
    assert await catalog.text(scope, "a") == "old"


async def test_submitting_again_forgets_the_error_and_keeps_the_age(
    catalog: Catalog, scope: Scope
) -> None:
    _, [task] = await submit(catalog, scope, "a")
    await catalog.fail(task, "no text")
    before = await catalog.document(scope, "a")
    await catalog.submit(scope, [submission("a", spool="new")])
    after = await catalog.document(scope, "a")
    assert (after.state, after.error) == ("pending", None)
    assert (after.created_at, after.source) == (before.created_at, {"spool": "new"})


async def test_an_unknown_document_is_an_error(catalog: Catalog, scope: Scope) -> None:
    with pytest.raises(NotFoundError, match="no document 'a' in collection 'handbook'"):
        await catalog.document(scope, "a")


async def test_documents_are_listed_page_by_page_and_by_state(
    catalog: Catalog, scope: Scope
) -> None:
    await store(catalog, scope, "b")
    await catalog.submit(scope, [submission(name) for name in "dac"])
    first = await catalog.documents(scope, limit=2)
    rest = await catalog.documents(scope, limit=9, after=first[-1].id)
    assert [d.id for d in first + rest] == ["a", "b", "c", "d"]
    assert [d.id for d in await catalog.documents(scope, limit=9, state="succeeded")] == ["b"]


async def test_documents_are_listed_by_how_their_uris_begin(catalog: Catalog, scope: Scope) -> None:
    uris = ["file:///a/doc/1", "file:///a/doc/2", "file:///a/docs/3", "file:///a/dob/4", "ü:5"]
    long = "".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(64))
    listed = [Submission(document_id=uri[-1], uri=uri, source={}) for uri in [*uris, f"{long}6"]]
    await catalog.submit(scope, listed)
    await catalog.submit(replace(scope, collection="other"), listed)

    async def ids(prefix: str, **page: Any) -> str:
        found = await catalog.documents(scope, uri_prefix=prefix, **{"limit": 9} | page)
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
        await catalog.documents(scope, limit=9, uri_prefix="file:///a/")
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
    await catalog.delete(other, "a")
    assert await catalog.text(scope, "a") == "mine"
    assert await catalog.text(other, "a") == ""
    assert await catalog.documents(other, limit=9) == []
    assert await catalog.same_content(other, "sha of mine") is None


async def test_a_deleted_document_is_forgotten_and_its_tasks_are_cancelled(
    catalog: Catalog, scope: Scope
) -> None:
    await store(catalog, scope, "a")
    job = await catalog.submit(scope, [submission("a"), submission("b")])
    await catalog.delete(scope, "a")
    with pytest.raises(NotFoundError):
        await catalog.document(scope, "a")
    assert await catalog.text(scope, "a") == ""
    assert [task.document_id for task in await catalog.claim(9)] == ["b"]
    assert (await catalog.job(job)).counts == {"cancelled": 1, "running": 1}


# Equal contents


async def test_the_oldest_stored_document_stands_for_its_bytes(
    catalog: Catalog, scope: Scope
) -> None:
    await store(catalog, scope, "a", "same")
    await store(catalog, scope, "b", "same", duplicate_of="a")
    await store(catalog, scope, "c", "other")
    same = await catalog.same_content(scope, "sha of same")
    assert same is not None
    assert same.id == "a"
    assert await catalog.same_content(scope, "sha of nothing") is None


async def test_the_first_heir_stands_for_the_bytes_and_the_others_lean_on_it(
    catalog: Catalog, scope: Scope
) -> None:
    await store(catalog, scope, "a", "same")
    for name in "bcd":
        await store(catalog, scope, name, "same", duplicate_of="a")
    heirs = await catalog.duplicates(scope, "a")
    assert {heir.id for heir in heirs} == {"b", "c", "d"}
    await catalog.inherit(scope, heirs, chunks=7, recipe="another")
    records = {d.id: d for d in await catalog.documents(scope, limit=9)}
    first, *others = (heir.id for heir in heirs)
    assert (records[first].duplicate_of, records[first].chunks) == (None, 7)
    assert records[first].recipe == "another"
    assert {records[other].duplicate_of for other in others} == {first}
    assert await catalog.duplicates(scope, "a") == []


# Tasks and jobs


async def test_tasks_are_claimed_once_oldest_first(catalog: Catalog, scope: Scope) -> None:
    await catalog.submit(scope, [submission("a"), submission("b")])
    await catalog.submit(scope, [submission("c")])
    claims = await asyncio.gather(*(catalog.claim(1) for _ in range(4)))
    assert sorted(task.document_id for tasks in claims for task in tasks) == ["a", "b", "c"]
    assert (await catalog.document(scope, "a")).state == "pending"
    [[first]] = [claim for claim in claims if claim and claim[0].document_id == "a"]
    assert await catalog.begin(first)
    assert (await catalog.document(scope, "a")).state == "running"


async def test_a_task_says_where_its_bytes_lie(catalog: Catalog, scope: Scope) -> None:
    job = await catalog.submit(scope, [submission("a", spool="key")])
    [task] = await catalog.claim(1)
    assert (task.job_id, task.scope, task.uri) == (job, scope, "file:///a")
    assert task.source == {"spool": "key"}
    assert await catalog.spooled() == {"key"}
    await catalog.fail(task, "no")
    assert await catalog.spooled() == {"key"}  # it may be retried
    assert await catalog.delete(scope, "a") == {"key"}
    assert await catalog.spooled() == set()


async def test_what_is_sent_again_in_the_midst_of_a_deletion_is_cancelled_with_it(
    postgres: PostgresServer, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog(PostgresDatabase(postgres.new_database()))
    await catalog.open()
    await catalog.submit(scope, [submission("a", spool="first")])

    async def sent_again(*given: Any) -> None:
        await catalog.submit(scope, [submission("a", spool="second")])
        await forget_text(*given)

    monkeypatch.setattr("rag.catalog.catalog.forget_text", sent_again)
    assert await catalog.delete(scope, "a") == {"first", "second"}
    assert await catalog.spooled() == set()
    await catalog.close()


async def test_what_ran_when_the_process_died_is_pending_again(scope: Scope, folder: Path) -> None:
    catalog = Catalog(SqliteDatabase(folder / "catalog.sqlite"))
    await catalog.open()
    job, _ = await submit(catalog, scope, "a")
    await catalog.submit(scope, [submission("b")])
    await catalog.close()
    again = Catalog(SqliteDatabase(folder / "catalog.sqlite"))
    await again.open()
    await again.release()
    assert (await again.document(scope, "a")).state == "pending"
    assert [task.document_id for task in await again.claim(9)] == ["a", "b"]
    assert (await again.job(job)).state == "running"
    await again.close()


async def test_a_task_that_is_put_off_is_claimed_when_it_is_due(
    catalog: Catalog, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, [task] = await submit(catalog, scope, "a")
    assert await catalog.next_due() is None
    await catalog.postpone(task, "Not now.", seconds=30)
    assert await catalog.claim(9) == []
    assert 29 < (await catalog.next_due() or 0) <= 30
    record = await catalog.document(scope, "a")
    assert (record.state, record.error) == ("pending", "Not now.")
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 31)
    assert [t.attempts for t in await catalog.claim(9)] == [1]


async def test_a_clock_that_was_moved_back_delays_nothing_for_long(
    catalog: Catalog, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, [task] = await submit(catalog, scope, "a")
    await catalog.postpone(task, "Not now.", seconds=30)
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now - 86_400)
    assert (await catalog.next_due() or 0) <= LONGEST_WAIT
    assert len(await catalog.claim(9)) == 1


async def test_bulk_waits_for_all_else(catalog: Catalog, scope: Scope) -> None:
    await catalog.submit(scope, [submission("bulk")], bulk=True)
    await catalog.submit(scope, [submission("now")])
    assert [task.document_id for task in await catalog.claim(9)] == ["now", "bulk"]


async def test_a_task_begins_unless_it_is_settled_cancelled_or_gone(
    catalog: Catalog, scope: Scope
) -> None:
    _, [done, gone, runs] = await submit(catalog, scope, "done", "gone", "runs")
    job = await catalog.submit(scope, [submission("late")])
    [late] = await catalog.claim(1)
    assert await catalog.begin(runs)
    await succeed(catalog, done)
    await catalog.delete(scope, "gone")
    await catalog.postpone(late, "Not now.", seconds=30)
    assert await catalog.begin(late)
    await catalog.postpone(late, "Not now.", seconds=30)
    await catalog.cancel(job)
    assert [await catalog.begin(task) for task in (done, gone, late)] == [False] * 3


async def test_a_task_is_done_without_when_a_newer_one_of_its_document_was_first(
    catalog: Catalog, scope: Scope
) -> None:
    job, [older] = await submit(catalog, scope, "a")
    await catalog.postpone(older, "Not now.", seconds=0)
    newer_job, tasks = await submit(catalog, scope, "a")
    newer = tasks[-1]
    assert await catalog.begin(older)  # the newer one may yet fail
    await catalog.postpone(older, "Not now.", seconds=0)
    await succeed(catalog, newer, "newer")
    assert not await catalog.begin(older)
    assert (await catalog.job(job)).outcomes == {"unchanged": 1}
    assert (await catalog.job(newer_job)).outcomes == {"stored": 1}
    record = await catalog.document(scope, "a")
    assert (record.state, record.error) == ("succeeded", None)
    assert await catalog.text(scope, "a") == "newer"


async def test_what_was_parsed_waits_for_whoever_embeds_it(catalog: Catalog, scope: Scope) -> None:
    job, [task] = await submit(catalog, scope, "a")
    assert await catalog.draft(task) is None
    assert await catalog.begin(task)
    read = replace(document("a", "text"), headings=(Heading(start=0, level=1, text="T"),))
    await catalog.parsed(task, read)
    assert (await catalog.job(job)).counts == {"pending": 1}
    assert (await catalog.job(job)).stages == {"embed": 1}
    async with catalog.outbox(9) as due:
        assert due == [DueTask(task.id, "embed", bulk=False)]
    [waiting] = await catalog.claim(9)
    assert (waiting.id, waiting.stage) == (task.id, "embed")
    assert await catalog.draft(waiting) == read
    await succeed(catalog, waiting, "text")
    assert await catalog.draft(waiting) is None
    assert (await catalog.job(job)).stages == {}


async def test_what_failed_after_it_was_parsed_is_read_again(
    catalog: Catalog, scope: Scope
) -> None:
    job, [task] = await submit(catalog, scope, "a")
    await catalog.parsed(task, document("a", "text"))
    [task] = await catalog.claim(9)
    await catalog.fail(task, "Broken.")
    assert (await catalog.retry(job)).stages == {"parse": 1}
    assert await catalog.draft(task) is None


async def test_a_cancelled_task_is_not_parsed_after_all(catalog: Catalog, scope: Scope) -> None:
    await catalog.claim_collection(scope, "embedder-1")
    job = await catalog.submit(scope, [submission("a")])
    async with catalog.outbox(1) as due:
        [task] = await catalog.tasks([due[0].id])
    await catalog.cancel(job)
    await catalog.parsed(task, document("a", "text"))
    assert (await catalog.job(job)).counts == {"cancelled": 1}


async def test_what_has_not_begun_in_its_time_fails_and_can_be_retried(
    catalog: Catalog, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    await catalog.claim_collection(scope, "embedder-1")
    job = await catalog.submit(scope, [submission("a"), submission("b")], expires_in=60)
    first, second = await catalog.claim(2)
    assert await catalog.begin(first)
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 61)
    assert not await catalog.begin(second)
    assert await catalog.begin(first)  # once it has begun it may take its time
    await succeed(catalog, first, "text")
    record = await catalog.job(job)
    assert record.counts == {"succeeded": 1, "failed": 1}
    assert "expires_in" in (record.error or "")
    await catalog.retry(job)
    [again] = await catalog.claim(9)
    assert await catalog.begin(again)


async def test_a_long_job_is_retried_in_no_time(catalog: Catalog, scope: Scope) -> None:
    job = await catalog.submit(scope, [submission(str(n)) for n in range(10_000)])
    [first] = await catalog.claim(1)
    await catalog.fail(first, "Broken.")
    async with asyncio.timeout(60):  # in the square of its documents it would take hours
        assert (await catalog.retry(job)).counts == {"pending": 10_000}


async def test_the_outbox_holds_what_no_broker_was_given(
    catalog: Catalog, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    await catalog.submit(scope, [submission("a")])
    await catalog.submit(scope, [submission("b")], bulk=True)
    with pytest.raises(UpstreamError):
        async with catalog.outbox(9):
            raise UpstreamError("The broker is down.")
    async with catalog.outbox(9) as due:
        assert [task.bulk for task in due] == [False, True]
    async with catalog.outbox(9) as again:
        assert again == []
    await catalog.give_again([("parse", False)], older_than=60)
    async with catalog.outbox(9) as again:
        assert again == []
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 61)
    await catalog.give_again([("embed", False)], older_than=60)
    await catalog.give_again([("parse", True)], older_than=60)
    async with catalog.outbox(9) as again:
        assert again == due[1:]
    await catalog.give_again([("parse", False)], older_than=60)
    async with catalog.outbox(9) as again:
        assert again == due[:1]
    [task] = await catalog.tasks([due[0].id])
    await catalog.put_back(task, seconds=-1)
    async with catalog.outbox(9) as again:
        assert again == due[:1]
    assert await catalog.tasks([12345, task.id]) == [task]


async def test_retrying_a_job_takes_up_what_failed_and_nothing_else(
    catalog: Catalog, scope: Scope
) -> None:
    job, [good, bad, mended] = await submit(catalog, scope, "good", "bad", "mended")
    await succeed(catalog, good)
    await catalog.fail(bad, "Broken.")
    await catalog.fail(mended, "Broken.")
    await store(catalog, scope, "mended")  # by another job since
    record = await catalog.retry(job)
    assert record.counts == {"succeeded": 1, "pending": 1, "failed": 1}
    assert [task.document_id for task in await catalog.claim(9)] == ["bad"]
    with pytest.raises(NotFoundError, match="no job 'x'"):
        await catalog.retry("x")


async def test_cancelling_ends_what_has_not_begun(catalog: Catalog, scope: Scope) -> None:
    job = await catalog.submit(scope, [submission(name) for name in "abc"])
    [running] = await catalog.claim(1)
    record = await catalog.cancel(job)
    assert (record.state, record.counts) == ("running", {"running": 1, "cancelled": 2})
    assert await catalog.claim(9) == []
    assert (await catalog.document(scope, "b")).state == "cancelled"
    await succeed(catalog, running)
    assert (await catalog.job(job)).state == "cancelled"
    assert (await catalog.document(scope, "a")).state == "succeeded"


async def test_cancelling_does_not_deadlock_with_what_begins(
    catalog: Catalog, database: Database, scope: Scope
) -> None:
    job = await catalog.submit(scope, [submission("a")])
    async with database.write() as db:
        await db.execute(tables.tasks.update().values(state="running"))
        cancelling = asyncio.create_task(catalog.cancel(job))
        await asyncio.sleep(0.3)
        await db.execute(tables.documents.update().values(state="running"))
    assert (await cancelling).counts == {"running": 1}


async def test_cancelling_leaves_documents_that_another_job_waits_for(
    catalog: Catalog, scope: Scope
) -> None:
    first = await catalog.submit(scope, [submission("a")])
    await catalog.submit(scope, [submission("a")])
    await catalog.cancel(first)
    assert (await catalog.document(scope, "a")).state == "pending"
    assert len(await catalog.claim(9)) == 1


async def test_cancelling_keeps_what_is_stored_of_a_document(
    catalog: Catalog, scope: Scope
) -> None:
    await store(catalog, scope, "a")
    job = await catalog.submit(scope, [submission("a")])
    await catalog.cancel(job)
    record = await catalog.document(scope, "a")
    assert (record.state, record.chunks) == ("cancelled", 3)
    assert await catalog.text(scope, "a") == "text"


async def test_cancelling_a_job_that_has_ended_changes_nothing(
    catalog: Catalog, scope: Scope
) -> None:
    job, [task] = await submit(catalog, scope, "a")
    await succeed(catalog, task)
    assert (await catalog.cancel(job)).state == "succeeded"


async def test_an_unknown_job_is_an_error(catalog: Catalog) -> None:
    for call in (catalog.job, catalog.cancel):
        with pytest.raises(NotFoundError, match="no job 'x'"):
            await call("x")


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
        assert (await catalog.job(job)).state == "running"
        match outcome:
            case "s":
                await succeed(catalog, task)
            case "u":
                await catalog.unchanged(task, document(task.document_id))
            case _:
                await catalog.fail(task, "no text")
    assert (await catalog.job(job)).state == state


async def test_a_job_names_its_first_failures_and_counts_all(
    catalog: Catalog, scope: Scope
) -> None:
    await catalog.claim_collection(scope, "e")
    names = [f"d{i:03}" for i in range(SHOWN_FAILURES + 5)]
    job = await catalog.submit(scope, [submission(name) for name in names])
    for task in await catalog.claim(len(names)):
        await catalog.fail(task, f"{task.document_id} is no text")
    record = await catalog.job(job)
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
    await catalog.unchanged(tasks[2], document("c"))
    outcomes = (await catalog.job(job)).outcomes
    assert outcomes == {"stored": 1, "duplicate": 1, "unchanged": 1}


async def test_a_document_stays_pending_while_a_newer_task_waits_for_it(
    catalog: Catalog, scope: Scope
) -> None:
    _, [old] = await submit(catalog, scope, "a")
    await catalog.submit(scope, [submission("a")])
    await succeed(catalog, old)
    assert (await catalog.document(scope, "a")).state == "pending"
    [new] = await catalog.claim(9)
    await catalog.unchanged(new, document("a"))
    assert (await catalog.document(scope, "a")).state == "succeeded"


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
    await catalog.succeed(task, stored, recipe="r", chunks=1, duplicate_of=None)
    found = await catalog.stored(scope, "a")
    assert found == stored
    assert repr(found) == repr(stored)  # 1, 1.0 and True are equal, and are not the same
    await catalog.check_complete(scope)


async def test_what_an_older_version_stored_is_named_until_it_is_ingested_again(
    catalog: Catalog, database: Database, scope: Scope
) -> None:
    await store(catalog, scope, "a")
    async with database.write() as db:
        await db.execute(sa.update(tables.texts).values(structure=None))
    for ask in (catalog.check_complete(scope), catalog.stored(scope, "a")):
        with pytest.raises(InputError, match=r"file:///a\. Ingest them once more") as caught:
            await ask
        assert caught.value.code == "incomplete_documents"
    _, [task] = await submit(catalog, scope, "a")
    await catalog.unchanged(task, document("a"))
    await catalog.check_complete(scope)
    assert await catalog.stored(scope, "a") == document("a")


# Versions of an index


def cut(text: str, *, recipe: str, chunks: int, duplicate_of: str | None = None) -> Cut:
    version = document("any", text).version
    return Cut(version=version, duplicate_of=duplicate_of, recipe=recipe, chunks=chunks)


async def test_a_switch_is_recorded_with_the_way_back(catalog: Catalog, scope: Scope) -> None:
    await store(catalog, scope, "a")
    await store(catalog, scope, "b", duplicate_of="a")
    await store(catalog, scope, "changed", "since it was cut")
    assert await catalog.previous(scope) is None
    assert await catalog.document_ids(scope) == ["a", "b", "changed"]
    before = {d.id: d for d in await catalog.documents(scope, limit=9)}
    cuts = {
        "a": cut("text", recipe="new", chunks=7),
        "b": cut("text", recipe="new", chunks=0, duplicate_of="a"),
        "changed": cut("text", recipe="new", chunks=5),
        "gone": cut("text", recipe="new", chunks=5),
    }
    async with catalog.switching(scope, cuts, embedder="embedder-2"):
        pass
    after = {d.id: d for d in await catalog.documents(scope, limit=9)}
    new_a = replace(before["a"], recipe="new", chunks=7)
    new_b = replace(before["b"], recipe="new", chunks=0)
    changed = replace(before["changed"], recipe="")
    assert after == {"a": new_a, "b": new_b, "changed": changed}
    assert (await catalog.collection(scope)).embedder == "embedder-2"
    known = await catalog.previous(scope)
    assert known is not None
    embedder, kept = known
    assert embedder == "embedder-1"
    assert {id_: (c.recipe, c.chunks) for id_, c in kept.items()} == {
        id_: (before[id_].recipe, before[id_].chunks) for id_ in ("a", "b")
    }
    async with catalog.switching(scope, kept, embedder=embedder):
        pass
    back = {d.id: d for d in await catalog.documents(scope, limit=9)}
    assert back == before | {"changed": changed}
    await catalog.recut(scope, "a", cuts["a"])
    assert await catalog.document(scope, "a") == new_a


async def test_a_switch_that_fails_is_not_recorded(catalog: Catalog, scope: Scope) -> None:
    await store(catalog, scope, "a")
    before = await catalog.document(scope, "a")
    cuts = {"a": cut("text", recipe="new", chunks=7)}
    with pytest.raises(RuntimeError):
        async with catalog.switching(scope, cuts, embedder="embedder-2"):
            raise RuntimeError
    assert await catalog.document(scope, "a") == before
    assert (await catalog.collection(scope)).embedder == "embedder-1"


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
    assert (await catalog.document(scope, "a")).recipe == ""  # it is not to count as unchanged
    assert await abandoned(catalog, deleted=False) == ["a", "b", "c"]
    assert await abandoned(catalog, deleted=True) == []
    _, [task] = await submit(catalog, scope, "b")
    assert await abandoned(catalog, deleted=False) == ["a", "c"]
    await succeed(catalog, task, "text of b")
    await catalog.recut(scope, "c", cut("text of c", recipe="new", chunks=2))
    assert await abandoned(catalog, deleted=False) == ["a"]
    await catalog.unsettled.remove(scope, "a")
    assert await abandoned(catalog, deleted=False) == []


async def test_what_a_deleted_document_had_is_known_until_the_index_has_forgotten_it(
    catalog: Catalog, scope: Scope
) -> None:
    await store(catalog, scope, "a")
    await catalog.delete(scope, "a")
    mark = await catalog.unsettled.of(scope, "a")
    assert mark is not None
    assert mark.held == cut("text", recipe="recipe", chunks=3)
    assert await abandoned(catalog, deleted=True) == ["a"]
    _, [task] = await submit(catalog, scope, "a")
    assert await abandoned(catalog, deleted=True) == []  # the task will see to it
    await catalog.delete(scope, "a")
    assert await catalog.unsettled.of(scope, "a") == mark
    assert await abandoned(catalog, deleted=True) == ["a"]
    assert not await catalog.begin(task)
    await catalog.delete(scope, "nobody")
    assert await catalog.unsettled.of(scope, "nobody") is None


async def test_an_heir_is_marked_until_it_stands_for_the_bytes(
    catalog: Catalog, scope: Scope
) -> None:
    await store(catalog, scope, "a")
    await store(catalog, scope, "b", duplicate_of="a")
    await catalog.unsettled.add(scope, "b")
    heirs = await catalog.duplicates(scope, "a")
    assert await catalog.inherit(scope, heirs, chunks=3, recipe="recipe")
    assert await catalog.unsettled.of(scope, "b") is None
    assert (await catalog.document(scope, "b")).recipe == "recipe"


async def test_the_deletion_of_an_heir_stays_open_where_it_is_to_inherit(
    catalog: Catalog, scope: Scope
) -> None:
    for name, original in (("a", None), ("b", "a"), ("c", "a")):
        await store(catalog, scope, name, duplicate_of=original)
    heirs = await catalog.duplicates(scope, "a")
    await catalog.delete(scope, heirs[0].id)
    assert not await catalog.inherit(scope, heirs, chunks=3, recipe="recipe")
    assert await catalog.unsettled.of(scope, heirs[0].id) is not None
    assert (await catalog.document(scope, heirs[1].id)).duplicate_of == "a"


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
    await catalog.recut(scope, "changed", cut("text of changed", recipe="other", chunks=4))
    await catalog.delete(scope, "deleted")
    await catalog.unsettled.remove(scope, "deleted")
    await store(catalog, scope, "added")
    found = await catalog.staged.of(scope)
    assert found == replace(second, cuts={"a": made["a"], "changed": GONE, "deleted": GONE})
    async with catalog.switching(scope, found.cuts, embedder=found.embedder):
        pass
    assert await catalog.staged.scopes() == []
    assert (await catalog.document(scope, "a")).chunks == 7
    assert (await catalog.document(scope, "changed")).chunks == 4
    assert await abandoned(catalog, deleted=False) == ["added", "changed", "deleted"]
