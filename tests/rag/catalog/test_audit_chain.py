"""The chains of the audit log, on each database."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import asdict, replace

import pytest
import sqlalchemy as sa

from rag.catalog.audit import CHECKPOINT, ORIGIN, Audit
from rag.catalog.database import Database, PostgresDatabase
from rag.catalog.tables import audit, audit_heads
from rag.records import AuditEntry, AuditRow

pytestmark = pytest.mark.anyio


def row(number: int, *, tenant: str = "acme", at_ms: int | None = None) -> AuditRow:
    return AuditRow(
        id=f"{tenant}-{number}",
        tenant=tenant,
        at_ms=number if at_ms is None else at_ms,
        action="document.delete",
        object=f"übung/{number}",
        collection="handbook",
        outcome="success",
        status=204,
        subject="ann",
        address="2001:db8::1",
        request_id=f"r{number}",
    )


@pytest.fixture
async def log(database: Database) -> Audit:
    await database.open()
    return Audit(database)


async def filled(log: Audit, count: int = 9) -> list[AuditEntry]:
    await log.write([row(n) for n in range(1, count + 1)])
    return [entry async for entry in log.entries("acme")]


async def change(database: Database, *statements: sa.Executable) -> None:
    async with database.write() as db:
        for statement in statements:
            await db.execute(statement)


async def test_a_chain_is_what_the_documentation_says(log: Audit) -> None:
    last = ORIGIN
    for entry in await filled(log, 3):
        content = json.dumps(
            asdict(entry.row) | {"number": entry.number}, sort_keys=True, separators=(",", ":")
        )
        last = hashlib.sha256(f"{last}\n{content}".encode()).hexdigest()
        assert entry.hash == last
    verified = await log.verify("acme")
    assert (verified.fault, verified.rows, tuple(verified.head)) == ("", 3, ("acme", 3, last))


async def test_an_empty_chain_is_intact(log: Audit) -> None:
    verified = await log.verify("nobody")
    assert (verified.fault, verified.rows, verified.head.number) == ("", 0, 0)


async def test_rows_written_again_are_stored_once(log: Audit) -> None:
    await log.write([row(1), row(2)])
    await log.write([row(1), row(2), row(3)])
    assert [entry.row async for entry in log.entries("acme")] == [row(1), row(2), row(3)]
    assert not (await log.verify("acme")).fault


FIVE = sa.and_(audit.c.tenant == "acme", audit.c.number == 5)
COLUMNS = [column.name for column in audit.c if column.name not in ("tenant", "number")]


@pytest.mark.parametrize("column", COLUMNS)
async def test_a_changed_row_is_named(log: Audit, database: Database, column: str) -> None:
    await filled(log)
    other = 4711 if column in ("at_ms", "status") else "x" * 64
    await change(database, audit.update().where(FIVE).values({column: other}))
    assert (await log.verify("acme")).fault == "Row 5 was changed, or replaced."


async def test_a_missing_row_is_named(log: Audit, database: Database) -> None:
    await filled(log)
    await change(database, audit.delete().where(FIVE))
    assert (await log.verify("acme")).fault == "Row 5 is missing."
    await change(database, audit.delete().where(audit.c.number.in_([3, 4])))
    assert (await log.verify("acme")).fault == "Rows 3 to 5 are missing."


async def test_a_missing_beginning_is_named(log: Audit, database: Database) -> None:
    await filled(log)
    await change(database, audit.delete().where(audit.c.number < 4))
    assert (await log.verify("acme")).fault == "Rows 1 to 3 are missing."


async def test_reordered_rows_are_named(log: Audit, database: Database) -> None:
    await filled(log)
    await change(
        database,
        audit.update().where(FIVE).values(number=99),
        audit.update().where(audit.c.number == 6).values(number=5),
        audit.update().where(audit.c.number == 99).values(number=6),
    )
    assert (await log.verify("acme")).fault == "Row 5 was changed, or replaced."


async def test_a_row_renumbered_over_a_gap_is_named(log: Audit, database: Database) -> None:
    await filled(log)
    await change(
        database,
        audit.delete().where(FIVE),
        *(audit.update().where(audit.c.number == n).values(number=n - 1) for n in range(6, 10)),
        audit_heads.update().values(number=8),
    )
    assert (await log.verify("acme")).fault == "Row 5 was changed, or replaced."


async def test_a_missing_end_is_named_and_an_older_head_shows_a_forged_one(
    log: Audit, database: Database
) -> None:
    entries = await filled(log)
    await change(database, audit.delete().where(audit.c.number > 6))
    verified = await log.verify("acme")
    assert (verified.fault, verified.rows) == ("Rows 7 to 9 are missing at the end.", 6)
    forged = audit_heads.update().values(number=6, hash=entries[5].hash)
    await change(database, forged)
    assert not (await log.verify("acme")).fault
    assert await log.entry("acme", 9) is None, "the head of an earlier export shows it"


async def test_a_row_that_was_added_by_hand_is_named(log: Audit, database: Database) -> None:
    entries = await filled(log)
    added = asdict(replace(row(10), id="x")) | {"number": 10, "hash": entries[-1].hash}
    await change(database, audit.insert().values(added))
    assert (await log.verify("acme")).fault == "Row 10 follows the end of the chain."


async def test_chains_of_tenants_are_apart(log: Audit, database: Database) -> None:
    await log.write([row(n, tenant=tenant) for n in (1, 2) for tenant in ("acme", "rival", "")])
    await change(database, audit.delete().where(audit.c.tenant == "rival"))
    assert [head.tenant for head in await log.heads()] == ["", "acme", "rival"]
    faults = [(await log.verify(head.tenant)).fault for head in await log.heads()]
    assert faults == ["", "", "Rows 1 to 2 are missing at the end."]


async def test_processes_append_to_one_chain(log: Audit, database: Database) -> None:
    logs = [log]
    if isinstance(database, PostgresDatabase):
        logs += [Audit(PostgresDatabase(database._url)) for _ in range(3)]
    tenants = ("acme", "rival", "")
    await asyncio.gather(
        *(
            each.write([row(100 * i + 10 * j + n, tenant=t) for n in range(3) for t in order])
            for i, each in enumerate(logs)
            for j, order in enumerate((tenants, tenants[::-1], tenants[1:] + tenants[:1]))
        )
    )
    for tenant in tenants:
        verified = await log.verify(tenant)
        assert (verified.fault, verified.rows) == ("", 9 * len(logs))
    for each in logs[1:]:
        await each._db.close()


class TestRetention:
    async def test_the_rest_is_verified_from_a_checkpoint(self, log: Audit) -> None:
        entries = await filled(log)
        assert await log.expire("acme", before_ms=5, note=row(20)) == 4
        kept = [entry async for entry in log.entries("acme")]
        assert [entry.number for entry in kept] == [5, 6, 7, 8, 9, 10]
        assert (kept[-1].row.action, kept[-1].row.object) == (CHECKPOINT, "4")
        assert kept[-1].row.detail == entries[3].hash
        assert not (await log.verify("acme")).fault
        assert await log.expire("acme", before_ms=7, note=row(21)) == 2
        verified = await log.verify("acme")
        assert (verified.fault, verified.rows, verified.head.number) == ("", 5, 11)

    async def test_a_chain_that_is_all_old_ends_in_its_checkpoint(self, log: Audit) -> None:
        await filled(log)
        assert await log.expire("acme", before_ms=10, note=row(20, at_ms=10)) == 9
        assert await log.expire("acme", before_ms=99, note=row(21, at_ms=99)) == 0
        await log.write([row(30)])
        assert [entry.number async for entry in log.entries("acme")] == [10, 11]
        assert not (await log.verify("acme")).fault

    async def test_a_row_that_is_missing_after_a_checkpoint_is_named(
        self, log: Audit, database: Database
    ) -> None:
        await filled(log)
        await log.expire("acme", before_ms=5, note=row(20))
        await change(database, audit.delete().where(audit.c.number == 5))
        assert (await log.verify("acme")).fault == "Row 5 is missing."

    async def test_a_row_out_of_time_keeps_those_after_it(self, log: Audit) -> None:
        await log.write([row(1), row(2, at_ms=50), row(3)])
        assert await log.expire("acme", before_ms=40, note=row(60)) == 1
        assert [entry.number async for entry in log.entries("acme")] == [2, 3, 4]

    async def test_others_lose_nothing(self, log: Audit) -> None:
        await log.write([row(n, tenant=tenant) for n in (1, 2) for tenant in ("acme", "rival")])
        await log.expire("acme", before_ms=99, note=row(100))
        assert [entry.number async for entry in log.entries("rival")] == [1, 2]


async def test_entries_are_read_from_a_time(log: Audit) -> None:
    await filled(log)
    assert [entry.number async for entry in log.entries("acme", since_ms=7)] == [7, 8, 9]
