"""Lines of batches as a queue, on each database."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from rag.catalog.batch_queue import LEASE_SECONDS
from rag.catalog.batch_tables import batch_line_documents, batch_lines, batches
from rag.catalog.catalog import Catalog
from rag.catalog.database import Database
from rag.catalog.tenants import TABLES
from rag.errors import ConflictError, NotFoundError
from rag.records import Batch, BatchLine, ClaimedLine, LineOutcome
from rag.types import Permission, Principal, Scope
from tests.catalogs import store

pytestmark = pytest.mark.anyio
ASKS: frozenset[Permission] = frozenset({"ask"})
ANNA = Principal(tenant="acme", subject="anna", key_id="k1", scopes=ASKS)
ADMIN = Principal(tenant="acme")
RIVAL = Principal(tenant="rival")
DONE = LineOutcome(state="done", status=200, response='{"answer":"yes"}')


async def batch_of(
    catalog: Catalog, caller: Principal, count: int, *, seconds: float = 60
) -> Batch:
    batch = await unread(catalog, caller, seconds=seconds)
    lines = [BatchLine(line=n, custom_id=f"c{n}", body="{}") for n in range(1, count + 1)]
    await catalog.batch_queue.begin(batch, lines)
    return batch


async def unread(catalog: Catalog, caller: Principal, *, seconds: float = 60) -> Batch:
    return await catalog.batches.add(
        caller, input_file_id="file-1", endpoint="/v1/query", metadata=None, seconds=seconds
    )


async def claim(catalog: Catalog, token: str = "one") -> ClaimedLine:
    line = await catalog.batch_queue.claim(token)
    assert line is not None
    return line


async def set_(database: Database, table: sa.Table, **values: Any) -> None:
    async with database.write() as db:
        await db.execute(table.update().values(values))


async def lease_ends(database: Database) -> None:
    await set_(database, batch_lines, due_at=time.time() - 1)


async def results(catalog: Catalog, batch: Batch) -> dict[int, str]:
    done = [line async for line in catalog.batch_results.lines(ADMIN, batch.id, "done")]
    failed = [line async for line in catalog.batch_results.lines(ADMIN, batch.id, "failed")]
    found = {line.line: line.error["code"] if line.error else line.state for line in done + failed}
    assert len(found) == len(done) + len(failed)
    return found


async def test_every_line_is_claimed_once_in_order_and_the_batch_ends_with_them(
    catalog: Catalog,
) -> None:
    batch = await batch_of(catalog, ANNA, 3)
    lines = [await claim(catalog) for _ in range(3)]
    assert [(line.line, line.attempts, line.caller) for line in lines] == [
        (1, 1, ANNA), (2, 1, ANNA), (3, 1, ANNA)
    ]  # fmt: skip
    assert await catalog.batch_queue.claim("other") is None
    backlog = await catalog.jobs.backlog()
    assert backlog.batch_lines == 3
    assert backlog.batch_seconds_left is not None
    assert 0 < backlog.batch_seconds_left <= 60
    for line in lines:
        assert (await catalog.batches.get(ANNA, batch.id)).state == "in_progress"
        assert await catalog.batch_queue.finish(line, DONE)
    found = await catalog.batches.get(ANNA, batch.id)
    assert (found.state, found.completed, found.failed) == ("completed", 3, 0)
    assert await results(catalog, batch) == {1: "done", 2: "done", 3: "done"}
    ended = await catalog.jobs.backlog()
    assert (ended.batch_lines, ended.batch_seconds_left) == (0, None)


async def test_a_line_whose_process_died_is_answered_again_and_written_once(
    catalog: Catalog, database: Database
) -> None:
    batch = await batch_of(catalog, ANNA, 1)
    first = await claim(catalog, "dead")
    await lease_ends(database)
    second = await claim(catalog, "alive")
    assert (second.line, second.attempts) == (1, 2)
    assert not await catalog.batch_queue.finish(first, DONE)
    await catalog.batch_queue.put_back(first, seconds=0)  # it is not the one that has it
    await catalog.batch_queue.renew([first])
    assert await catalog.batch_queue.finish(second, replace(DONE, response="2"))
    assert not await catalog.batch_queue.finish(second, DONE)
    [line] = [line async for line in catalog.batch_results.lines(ADMIN, batch.id, "done")]
    assert line.response == "2"
    assert (await catalog.batches.get(ANNA, batch.id)).completed == 1


async def test_a_lease_that_is_renewed_does_not_end(catalog: Catalog, database: Database) -> None:
    await batch_of(catalog, ANNA, 1)
    line = await claim(catalog)
    await lease_ends(database)
    await catalog.batch_queue.renew([line])
    assert await catalog.batch_queue.claim("other") is None
    [row] = await database.rows(sa.select(batch_lines.c.due_at))
    assert row["due_at"] > time.time() + LEASE_SECONDS / 2
    await catalog.batch_queue.release()
    assert await catalog.batch_queue.claim("other") is not None


async def test_many_runners_share_the_lines(catalog: Catalog) -> None:
    batch = await batch_of(catalog, ANNA, 40)

    async def run(token: str) -> int:
        count = 0
        while line := await catalog.batch_queue.claim(token):
            count += 1
            assert await catalog.batch_queue.finish(line, DONE)
        return count

    assert sum(await asyncio.gather(*(run(f"r{n}") for n in range(4)))) == 40
    assert (await catalog.batches.get(ANNA, batch.id)).state == "completed"


async def test_tenants_take_turns_and_so_do_their_batches(catalog: Catalog) -> None:
    one, two = await batch_of(catalog, ANNA, 9), await batch_of(catalog, ANNA, 9)
    other = await batch_of(catalog, RIVAL, 3)
    claimed = [(await claim(catalog)).batch_id for _ in range(12)]
    assert claimed.count(other.id) == 3
    assert [id_ == other.id for id_ in claimed[:6]] in ([True, False] * 3, [False, True] * 3)
    assert abs(claimed.count(one.id) - claimed.count(two.id)) <= 1


async def test_a_batch_waits_where_its_caller_is_over_a_limit(catalog: Catalog) -> None:
    paused = await batch_of(catalog, ANNA, 2)
    line = await claim(catalog)
    await catalog.batch_queue.pause(paused.id, seconds=60)
    await catalog.batch_queue.put_back(line, seconds=0, counted=False)
    assert await catalog.batch_queue.claim("one") is None
    await batch_of(catalog, RIVAL, 1)
    assert (await claim(catalog)).caller == RIVAL
    await catalog.batch_queue.pause(paused.id, seconds=-1)
    assert sorted([(await claim(catalog)).attempts, (await claim(catalog)).attempts]) == [1, 1]


async def test_cancelling_waits_for_the_lines_under_way(
    catalog: Catalog, database: Database
) -> None:
    batch = await batch_of(catalog, ANNA, 4)
    running, dead = await claim(catalog), await claim(catalog, "dead")
    assert (await catalog.batches.cancel(ANNA, batch.id)).state == "cancelling"
    assert await catalog.batch_queue.claim("one") is None
    with pytest.raises(ConflictError):
        await catalog.batches.delete(ANNA, batch.id)
    assert await catalog.batch_queue.finish(running, DONE)
    await catalog.batch_queue.sweep()
    assert (await catalog.batches.get(ANNA, batch.id)).state == "cancelling"
    await lease_ends(database)
    await catalog.batch_queue.sweep()
    found = await catalog.batches.get(ANNA, batch.id)
    assert (found.state, found.completed, found.failed) == ("cancelled", 1, 3)
    assert not await catalog.batch_queue.finish(dead, DONE)
    assert await results(catalog, batch) == {1: "done"} | dict.fromkeys(
        (2, 3, 4), "batch_cancelled"
    )
    with pytest.raises(ConflictError):
        await catalog.batches.cancel(ANNA, batch.id)


async def test_a_batch_that_is_cancelled_while_its_file_is_read(catalog: Catalog) -> None:
    batch = await unread(catalog, ANNA)
    assert (await catalog.batches.cancel(ANNA, batch.id)).state == "cancelled"
    await catalog.batch_queue.begin(batch, [BatchLine(line=1, custom_id="a", body="{}")])
    await catalog.batch_queue.refuse(batch, {"code": "a", "message": "b"})
    assert (await catalog.batches.get(ANNA, batch.id)).state == "cancelled"
    assert await results(catalog, batch) == {}


async def test_reading_a_file_again_after_a_kill_adds_no_line(
    catalog: Catalog, database: Database
) -> None:
    batch = await batch_of(catalog, ANNA, 3)
    await set_(database, batches, state="validating", total=0)  # it died before it said so
    lines = [BatchLine(line=n, custom_id=f"c{n}", body="{}") for n in range(1, 4)]
    await catalog.batch_queue.begin(batch, lines)
    found = await catalog.batches.get(ANNA, batch.id)
    assert (found.state, found.total) == ("in_progress", 3)
    assert len({(await claim(catalog)).line for _ in range(3)}) == 3


async def test_a_batch_expires(catalog: Catalog, database: Database) -> None:
    batch, late = await batch_of(catalog, ANNA, 3), await unread(catalog, ANNA)
    done, running = await claim(catalog), await claim(catalog)
    assert await catalog.batch_queue.finish(done, DONE)
    await set_(database, batches, expires_at=time.time() - 1)
    await catalog.batch_queue.sweep()
    found = await catalog.batches.get(ANNA, batch.id)
    assert (found.state, found.completed, found.failed) == ("expired", 1, 2)
    assert not await catalog.batch_queue.finish(running, DONE)
    assert await results(catalog, batch) == {1: "done", 2: "batch_expired", 3: "batch_expired"}
    assert (await catalog.batches.get(ANNA, late.id)).state == "expired"


async def test_a_caller_sees_what_the_same_key_or_user_made(catalog: Catalog) -> None:
    batch = await batch_of(catalog, ANNA, 1)
    file = await catalog.batch_files.add(ANNA, "a.jsonl", b"x" * 200_000)
    for caller in (ANNA, replace(ANNA, key_id="k2"), replace(ANNA, subject=""), ADMIN):
        assert (await catalog.batches.get(caller, batch.id)).id == batch.id
        assert (await catalog.batch_files.get(caller, file.id)) == file
        assert [each.id for each in await catalog.batches.page(caller, limit=9, after=None)]
    strangers = (
        replace(ANNA, key_id="k2", subject="bert"), replace(ANNA, key_id="", subject=""), RIVAL
    )  # fmt: skip
    for caller in strangers:
        for call in (
            catalog.batches.get(caller, batch.id),
            catalog.batches.cancel(caller, batch.id),
            catalog.batches.delete(caller, batch.id),
            catalog.batch_files.get(caller, file.id),
            catalog.batch_files.delete(caller, file.id),
        ):
            with pytest.raises(NotFoundError):
                await call
        assert await catalog.batches.page(caller, limit=9, after=None) == []
        with pytest.raises(NotFoundError):
            await catalog.batches.page(caller, limit=9, after=batch.id)
    assert b"".join([part async for part in catalog.batch_files.content(file.id)]) == b"x" * 200_000


async def test_a_tenant_is_deleted_with_its_batches_and_no_other_is(catalog: Catalog) -> None:
    mine, theirs = await batch_of(catalog, ANNA, 3), await batch_of(catalog, RIVAL, 3)
    line = await claim(catalog)
    await catalog.batch_files.add(ANNA, "a.jsonl", b"{}")
    kept = await catalog.batch_files.add(RIVAL, "a.jsonl", b"{}")
    await catalog.tenants.delete("acme", *TABLES)
    assert not await catalog.batch_queue.finish(line, DONE)
    await catalog.batch_queue.begin(mine, [BatchLine(line=1, custom_id="a", body="{}")])
    assert [each.name for each in await catalog.tenants.all()] == ["rival"]
    assert [part async for part in catalog.batch_files.content(kept.id)] == [b"{}"]
    assert {(await claim(catalog)).batch_id for _ in range(3)} == {theirs.id}


DEFAULT = Scope(tenant="acme", collection="default")
WITH_TEXT = replace(
    DONE, response='{"text":"secret"}', collection="default", document_ids=frozenset({"a", "b"})
)


async def linked(catalog: Catalog) -> Batch:
    for name in ("a", "b"):
        await store(catalog, DEFAULT, name)
    await asyncio.sleep(0.002)  # the times of documents are in milliseconds
    batch = await batch_of(catalog, ANNA, 1)
    assert await catalog.batch_queue.finish(await claim(catalog), WITH_TEXT)
    assert await results(catalog, batch) == {1: "done"}
    return batch


@pytest.mark.parametrize("change", ["delete", "replace", "remove the collection"])
async def test_a_response_goes_with_the_documents_it_has_text_of(
    catalog: Catalog, database: Database, change: str
) -> None:
    batch = await linked(catalog)
    if change == "delete":
        await catalog.documents.delete(DEFAULT, "b")
    elif change == "replace":
        await store(catalog, DEFAULT, "b", "another text")
    else:
        await catalog.removals.clear(DEFAULT)
    [line] = [line async for line in catalog.batch_results.lines(ADMIN, batch.id, "done")]
    assert line.response is None
    assert line.error is not None
    assert line.error["code"] == "document_changed"
    if change == "remove the collection":
        assert await database.rows(batch_line_documents.select()) == []


async def test_a_document_that_is_stored_unchanged_keeps_responses(catalog: Catalog) -> None:
    batch = await linked(catalog)
    await store(catalog, DEFAULT, "b")
    assert await results(catalog, batch) == {1: "done"}


@pytest.mark.parametrize("change", ["delete", "replace"])
async def test_a_response_of_a_document_that_changed_meanwhile_is_not_kept(
    catalog: Catalog, change: str
) -> None:
    for name in ("a", "b"):
        await store(catalog, DEFAULT, name)
    await batch_of(catalog, ANNA, 1)
    line = await claim(catalog)
    if change == "delete":
        await catalog.documents.delete(DEFAULT, "b")
    else:
        await store(catalog, DEFAULT, "b", "another text")
    assert not await catalog.batch_queue.finish(line, WITH_TEXT)
    await catalog.batch_queue.put_back(line, seconds=0)
    again = await claim(catalog)
    assert again.attempts == 2


async def test_a_response_that_missed_a_change_is_removed_late(
    catalog: Catalog, database: Database
) -> None:
    batch = await linked(catalog)
    await set_(database, batch_line_documents, version="one that was replaced")
    await catalog.batch_queue.sweep()
    assert await results(catalog, batch) == {1: "document_changed"}


async def codes(catalog: Catalog, caller: Principal, batch: Batch) -> list[str | None]:
    lines = [line async for line in catalog.batch_results.lines(caller, batch.id, "done")]
    return [line.error["code"] if line.error else None for line in lines]


async def test_a_response_is_shown_to_those_who_may_read_its_documents_now(
    catalog: Catalog,
) -> None:
    batch = await linked(catalog)
    assert await codes(catalog, ANNA, batch) == [None]
    bound = replace(ANNA, collections=frozenset({"default"}))
    assert await codes(catalog, bound, batch) == [None]
    assert await codes(catalog, replace(bound, collections=frozenset()), batch) == [
        "document_hidden"
    ]
    await catalog.acls.set(DEFAULT, "a", frozenset({"group:law"}))
    assert await codes(catalog, ANNA, batch) == ["document_hidden"]
    assert await codes(catalog, replace(ANNA, groups=frozenset({"law"})), batch) == [None]
    assert await codes(catalog, ADMIN, batch) == [None]
    await catalog.acls.set(DEFAULT, "a", None)
    assert await codes(catalog, ANNA, batch) == [None]
    await catalog.acls.set_default(DEFAULT, frozenset({"group:law"}))
    assert await codes(catalog, ANNA, batch) == ["document_hidden"]
