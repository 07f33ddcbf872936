"""The audit log of the catalog: chains of rows, each with a hash of itself and of the row before.

Each tenant has a chain of its own. Processes that write for different tenants do not wait for each
other, the old rows of one tenant can be removed, and a tenant can be given its whole log. The
service has a chain as well, of the tenant "".

`audit_heads` has the last row of each chain. A transaction that appends locks it first, so the rows
of all processes are in one order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, fields

import sqlalchemy as sa

from rag.catalog.database import Database, Transaction
from rag.catalog.tables import audit, audit_heads
from rag.records import AuditEntry, AuditHead, AuditRow

CHECKPOINT = "audit.checkpoint"
"""The action of a row that follows a removal: the number and hash of the last removed row."""
ORIGIN = "0" * 64
"""The hash before the first row of a chain."""
PAGE = 1000
"""Rows that are read in one query."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A chain that was verified.

    `rows` are those that are stored and in order, `head` is the last row by the chain's own record.
    `fault` says what is wrong first, and at which row; empty: nothing is.
    """

    head: AuditHead
    rows: int
    fault: str = ""


class Audit:
    """Appends to the chains, verifies and reads them, and removes their oldest rows."""

    def __init__(self, database: Database) -> None:
        self._db = database
        new = database.insert(audit_heads)
        # One statement that inserts or changes nothing: it locks the row on PostgreSQL, and on
        # SQLite the file, so that a command beside a server waits for its turn.
        self._lock = new.on_conflict_do_update(
            index_elements=["tenant"], set_={"tenant": new.excluded.tenant}
        ).returning(*audit_heads.c)

    async def write(self, rows: Sequence[AuditRow]) -> None:
        """Appends rows in their order, of any tenants: all or none. Known rows are left out."""
        async with self._db.write() as db:
            for tenant in sorted({row.tenant for row in rows}):  # one order: no deadlock
                head = await self._head(db, tenant)
                theirs = {row.id: row for row in rows if row.tenant == tenant}
                known = sa.select(audit.c.id).where(audit.c.id.in_(list(theirs)))
                for id_ in (await db.execute(known)).scalars():
                    del theirs[id_]
                await self._append(db, head, list(theirs.values()))

    async def _head(self, db: Transaction, tenant: str) -> AuditHead:
        """Locks a chain, and returns its last row."""
        new = {"tenant": tenant, "number": 0, "hash": ORIGIN}
        return AuditHead(*(await db.execute(self._lock, new)).one())

    async def _append(self, db: Transaction, head: AuditHead, rows: Sequence[AuditRow]) -> None:
        if not rows:
            return
        number, last, linked = head.number, head.hash, []
        for row in rows:
            number += 1
            last = hash_of(last, number, row)
            linked.append(asdict(row) | {"number": number, "hash": last})
        await db.execute(audit.insert(), linked)
        mine = audit_heads.update().where(audit_heads.c.tenant == head.tenant)
        await db.execute(mine.values(number=number, hash=last))

    async def heads(self) -> list[AuditHead]:
        """Returns the last rows of all chains, of all tenants, ordered by tenant."""
        rows = await self._db.rows(audit_heads.select().order_by(audit_heads.c.tenant))
        return [AuditHead(**row) for row in rows]

    async def entry(self, tenant: str, number: int) -> AuditEntry | None:
        """Returns one entry of a chain; None if it is not stored."""
        found = await self._db.rows(audit.select().where(_of(tenant), audit.c.number == number))
        return _entry(found[0]) if found else None

    async def entries(
        self, tenant: str, *, since_ms: int = 0, after: int = 0
    ) -> AsyncIterator[AuditEntry]:
        """Yields the entries of a chain in order: those with numbers over `after` and not older."""
        query = audit.select().where(_of(tenant), audit.c.number > sa.bindparam("after"))
        query = query.where(audit.c.at_ms >= since_ms).order_by(audit.c.number).limit(PAGE)
        while rows := await self._db.rows(query, {"after": after}):
            for row in rows:
                yield _entry(row)
            after = rows[-1]["number"]

    async def verify(self, tenant: str) -> Verified:
        """Verifies a chain from its oldest row to its last; others may write meanwhile."""
        while True:
            start = await self._checkpoint(tenant)
            found = await self._verify(tenant, start)
            if not found.fault or await self._checkpoint(tenant) == start:
                return found

    async def _verify(self, tenant: str, start: tuple[int, str]) -> Verified:
        """Verifies a chain whose first `start` rows were removed, up to what is its head now."""
        head, newest = await self._end(tenant)
        (number, last), rows = start, 0
        async for entry in self.entries(tenant):
            if entry.number > head.number:
                break
            if entry.number != number + 1:
                return Verified(head, rows, _gap(number + 1, entry.number))
            if entry.hash != hash_of(last, entry.number, entry.row):
                return Verified(head, rows, f"Row {entry.number} was changed, or replaced.")
            number, last, rows = entry.number, entry.hash, rows + 1
        if number < head.number:
            return Verified(head, rows, f"{_rows(number + 1, head.number)} missing at the end.")
        if last != head.hash:
            return Verified(head, rows, f"Row {number} is not the one that ended the chain.")
        if newest > head.number:
            return Verified(head, rows, f"Row {head.number + 1} follows the end of the chain.")
        return Verified(head, rows)

    async def _end(self, tenant: str) -> tuple[AuditHead, int]:
        """Returns a chain's head, and the newest number of its rows, at one moment."""
        newest = sa.select(sa.func.max(audit.c.number)).where(_of(tenant)).scalar_subquery()
        head = sa.select(audit_heads.c.hash).where(audit_heads.c.tenant == tenant)
        number = sa.select(audit_heads.c.number).where(audit_heads.c.tenant == tenant)
        [row] = await self._db.rows(
            sa.select(
                sa.func.coalesce(number.scalar_subquery(), 0).label("number"),
                sa.func.coalesce(head.scalar_subquery(), ORIGIN).label("hash"),
                sa.func.coalesce(newest, 0).label("newest"),
            )
        )
        return AuditHead(tenant, row["number"], row["hash"]), row["newest"]

    async def _checkpoint(self, tenant: str) -> tuple[int, str]:
        """Returns number and hash of the last row that was removed."""
        query = sa.select(audit.c.object, audit.c.detail)
        query = query.where(_of(tenant), audit.c.action == CHECKPOINT)
        found = await self._db.rows(query.order_by(audit.c.number.desc()).limit(1))
        if not found or not found[0]["object"].isdecimal():
            return 0, ORIGIN
        return int(found[0]["object"]), found[0]["detail"]

    async def expire(self, tenant: str, *, before_ms: int, note: AuditRow) -> int:
        """Removes the rows of a chain up to the first that is not older; returns their number.

        A checkpoint row, made of `note`, is appended: it has the number and hash of the last
        removed row, so that the rest can be verified.
        """
        kept = sa.select(sa.func.min(audit.c.number)).where(_of(tenant), audit.c.at_ms >= before_ms)
        async with self._db.write() as db:
            head = await self._head(db, tenant)
            first = (await db.execute(kept)).scalar()
            last = head.number if first is None else first - 1
            old = sa.and_(_of(tenant), audit.c.number <= last)
            removed = sa.select(sa.func.count()).where(old, audit.c.action != CHECKPOINT)
            count = (await db.execute(removed)).scalar() or 0
            if not count:  # a checkpoint alone is not replaced by another
                return 0
            mine = sa.select(audit.c.hash).where(_of(tenant), audit.c.number == last)
            of_last = {"object": str(last), "detail": (await db.execute(mine)).scalar()}
            named = {"tenant": tenant, "action": CHECKPOINT}
            checkpoint = AuditRow(**asdict(note) | named | of_last)
            await self._append(db, head, [checkpoint])
            await db.execute(audit.delete().where(old))
        return count


def hash_of(before: str, number: int, row: AuditRow) -> str:
    """Returns the SHA-256, in hex, of the hash before and the row as JSON.

    The JSON has the row's fields and its number, with sorted names, no spaces, and ASCII alone.
    """
    content = asdict(row) | {"number": number}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{before}\n{text}".encode()).hexdigest()


def _of(tenant: str) -> sa.ColumnElement[bool]:
    return audit.c.tenant == tenant


def _entry(row: sa.RowMapping) -> AuditEntry:
    made = AuditRow(**{field.name: row[field.name] for field in fields(AuditRow)})
    return AuditEntry(row["number"], made, row["hash"])


def _gap(expected: int, found: int) -> str:
    if found < expected:
        return f"Row {found} was removed when it was old, and is there again."
    return f"{_rows(expected, found - 1)} missing."


def _rows(first: int, last: int) -> str:
    return f"Row {first} is" if first == last else f"Rows {first} to {last} are"
