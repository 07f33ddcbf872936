from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from rag.catalog import tables
from rag.catalog.catalog import Catalog
from rag.catalog.database import Database, PostgresDatabase
from rag.catalog.forgetting import forget_text
from rag.errors import InputError, NotFoundError
from rag.records import Submission
from rag.types import Document, Heading, Scope, Table
from tests.catalogs import document, store, submission, submit
from tests.postgres import PostgresServer

pytestmark = pytest.mark.anyio


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
    await catalog.outcomes.fail(task, "no text")
    record = await catalog.documents.get(scope, "a")
    assert (record.state, record.error, record.chunks) == ("failed", "no text", 3)
    assert await catalog.documents.text(scope, "a") == "old"


async def test_submitting_again_forgets_the_error_and_keeps_the_age(
    catalog: Catalog, scope: Scope
) -> None:
    _, [task] = await submit(catalog, scope, "a")
    await catalog.outcomes.fail(task, "no text")
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
            await db.execute(sa.text("SET LOCAL enable_seqscan = off"))
        how = "EXPLAIN" if postgres else "EXPLAIN QUERY PLAN"
        plan = (await db.run_sync(sa.Connection.exec_driver_sql, f"{how} {sql}", values)).all()
    assert "documents_by_uri" in str(plan), plan


async def test_scopes_do_not_see_each_others_documents(catalog: Catalog, scope: Scope) -> None:
    other = replace(scope, tenant="rival")
    await store(catalog, scope, "a", "mine")
    await store(catalog, other, "a", "theirs")
    await catalog.documents.delete(other, "a")
    assert await catalog.documents.text(scope, "a") == "mine"
    assert await catalog.documents.text(other, "a") == ""
    assert await catalog.documents.page(other, limit=9) == []
    assert await catalog.documents.same_content(other, "sha of mine", None) is None


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
    same = await catalog.documents.same_content(scope, "sha of same", None)
    assert same is not None
    assert same.id == "a"
    assert await catalog.documents.same_content(scope, "sha of same", frozenset({"public"})) is None
    assert await catalog.documents.same_content(scope, "sha of nothing", None) is None


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


# Documents stored for chunking again


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
    await catalog.outcomes.succeed(task, stored, recipe="r", chunks=1, duplicate_of=None)
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
    await catalog.outcomes.unchanged(task, document("a"))
    await catalog.documents.check_complete(scope)
    assert await catalog.documents.stored(scope, "a") == document("a")
