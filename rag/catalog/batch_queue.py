"""The lines of batches as a queue, which all processes share by leases.

A line is claimed by a token until its lease ends, and its outcome is written by that token: once. A
process that dies leaves its lines to others. Tenants take turns, and so do a tenant's batches: the
one that had its turn longest ago is next.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from rag.catalog.batch_forgetting import forget_late_lines, link, unchanged_since
from rag.catalog.batch_rows import (
    CANCELLED,
    EXPIRED,
    OPEN,
    batch_of,
    caller_of,
    count,
    fail_lines,
    is_free,
    lock,
    settle,
)
from rag.catalog.batch_tables import batch_lines, batches
from rag.catalog.database import Database
from rag.records import Batch, BatchLine, ClaimedLine, LineOutcome
from rag.types import Scope

LEASE_SECONDS = 45.0
"""Seconds for which a line is claimed; its process renews that three times in between."""
LINES_AT_ONCE = 1000
"""Lines that are stored in one transaction: others write in between."""
_NOT_ENDED = batches.c.ended_at.is_(None)
_THE_LINE = (batch_lines.c.batch_id == sa.bindparam("batch")) & (
    batch_lines.c.line == sa.bindparam("number")
)
_HELD = _THE_LINE & (batch_lines.c.token == sa.bindparam("holder")) & OPEN
"""Condition of a line that is still claimed by its token, for the parameters of `_key`."""


def _next_batch() -> sa.Select[Any]:
    """Returns the query of the batch whose turn it is."""
    now: sa.BindParameter[float] = sa.bindparam("now")
    others = batches.alias()
    turn = sa.select(sa.func.max(others.c.claimed_at))
    turn = turn.where(others.c.tenant == batches.c.tenant, others.c.ended_at.is_(None))
    due = sa.exists().where(
        batch_lines.c.batch_id == batches.c.id, OPEN, batch_lines.c.due_at <= now
    )
    which = (_NOT_ENDED, batches.c.state == "in_progress", batches.c.due_at <= now, due)
    order = (turn.scalar_subquery(), batches.c.claimed_at, batches.c.created_at)
    return sa.select(batches.c.id).where(*which).order_by(*order).limit(1)


# Statements of every line are built once: building one takes longer than running it.
_NEXT_BATCH = _next_batch()
_NEXT_LINE = (
    sa.select(batch_lines.c.line, batch_lines.c.body, batch_lines.c.attempts)
    .where(
        batch_lines.c.batch_id == sa.bindparam("batch"),
        OPEN,
        batch_lines.c.due_at <= sa.bindparam("now"),
    )
    .order_by(batch_lines.c.due_at, batch_lines.c.line)
    .limit(1)
)
_CLAIM = (
    batch_lines.update()
    .where(_THE_LINE)
    .values(
        token=sa.bindparam("holder"),
        due_at=sa.bindparam("until"),
        attempts=batch_lines.c.attempts + 1,
    )
)
_TAKE_TURN = (
    batches.update()
    .where(batches.c.id == sa.bindparam("batch"))
    .values(claimed_at=sa.bindparam("now"))
)
_END = (
    batch_lines.update()
    .where(_HELD)
    .values(
        token=None,
        body="",
        **{name: sa.bindparam(f"its_{name}") for name in ("state", "status", "response", "error")},
    )
)


class BatchQueue:
    """The calls of runners. It serves the process, and has all tenants' rows."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._insert = database.insert(batch_lines).on_conflict_do_nothing()

    async def unread(self) -> list[Batch]:
        """Returns some batches whose files are not read yet, oldest first."""
        new = batches.select().where(_NOT_ENDED, batches.c.state == "validating")
        rows = await self._db.rows(new.order_by(batches.c.created_at).limit(4))
        return [batch_of(row) for row in rows]

    async def begin(self, batch: Batch, lines: Sequence[BatchLine]) -> None:
        """Stores the lines of a batch, and has them claimed; it can be repeated."""
        for start in range(0, len(lines), LINES_AT_ONCE):
            part = lines[start : start + LINES_AT_ONCE]
            if not await self._db.change(self._add, batch, part):
                return
        failed = sum(line.state == "failed" for line in lines)
        await self._db.change(_begin, batch.id, total=len(lines), failed=failed)

    def _add(self, db: sa.Connection, batch: Batch, lines: Sequence[BatchLine]) -> bool:
        """Returns False if the batch is not read any more: it was cancelled, or deleted."""
        row = lock(db, batch.id)
        if row is None or row["state"] != "validating":
            return False
        own = {"batch_id": batch.id, "tenant": row["tenant"], "due_at": 0.0, "attempts": 0}
        db.execute(self._insert, [asdict(line) | own for line in lines])
        return True

    async def refuse(self, batch: Batch, error: Mapping[str, Any]) -> None:
        """Ends a batch none of whose lines can be answered."""
        mine = batches.update().where(batches.c.id == batch.id, batches.c.state == "validating")
        async with self._db.write() as db:
            await db.execute(mine.values(state="failed", error=error, ended_at=time.time()))

    async def claim(self, token: str) -> ClaimedLine | None:
        """Claims the line whose turn it is; returns None if none is due."""
        return await self._db.change(_claim, token)

    async def renew(self, lines: Sequence[ClaimedLine]) -> None:
        """Claims lines for longer, as far as no other process has them."""
        renewed = batch_lines.update().where(_HELD).values(due_at=time.time() + LEASE_SECONDS)
        async with self._db.write() as db:
            for line in sorted(lines, key=lambda each: (each.batch_id, each.line)):
                await db.execute(renewed, _key(line))

    async def finish(self, line: ClaimedLine, outcome: LineOutcome) -> bool:
        """Writes the outcome of a line.

        Returns:
            False if nothing was written: another process has the line, or a document that the
            response has text of has changed since the line was claimed.
        """
        return await self._db.change(_finish, line, outcome)

    async def put_back(self, line: ClaimedLine, *, seconds: float, counted: bool = True) -> None:
        """Has a line claimed again, in `seconds` at the soonest; an attempt may not count."""
        free = {"token": None, "due_at": time.time() + seconds}
        free |= {} if counted else {"attempts": line.attempts - 1}
        async with self._db.write() as db:
            await db.execute(batch_lines.update().where(_HELD).values(free), _key(line))

    async def pause(self, batch_id: str, *, seconds: float) -> None:
        """Has none of a batch's lines claimed for so long."""
        mine = batches.update().where(batches.c.id == batch_id)
        async with self._db.write() as db:
            await db.execute(mine.values(due_at=time.time() + seconds))

    async def release(self) -> None:
        """Frees all lines: the processes that had them have died."""
        held = batch_lines.update().where(OPEN, batch_lines.c.token.is_not(None))
        async with self._db.write() as db:
            await db.execute(held.values(token=None, due_at=0.0))

    async def give_back(self, token: str) -> None:
        """Frees the lines of a process that stops; it was no attempt at them."""
        mine = batch_lines.update().where(OPEN, batch_lines.c.token == token)
        free = {"token": None, "due_at": 0.0, "attempts": batch_lines.c.attempts - 1}
        async with self._db.write() as db:
            await db.execute(mine.values(free))

    async def sweep(self) -> None:
        """Ends batches that have expired, or were cancelled while a process that died had lines."""
        now = time.time()
        over = sa.or_(batches.c.expires_at <= now, batches.c.state == "cancelling")
        for row in await self._db.rows(sa.select(batches.c.id).where(_NOT_ENDED, over)):
            await self._db.change(_sweep, row["id"], now=now)
        await self._db.change(forget_late_lines, now=now)


def _begin(db: sa.Connection, batch_id: str, *, total: int, failed: int) -> None:
    now = time.time()
    lock(db, batch_id)
    mine = batches.update().where(batches.c.id == batch_id, batches.c.state == "validating")
    begun = {"state": "in_progress", "total": total, "failed": failed, "started_at": now}
    db.execute(mine.values(begun))
    settle(db, batch_id)


def _claim(db: sa.Connection, token: str) -> ClaimedLine | None:
    now = time.time()
    found: str | None = db.execute(_NEXT_BATCH, {"now": now}).scalar()
    batch = None if found is None else lock(db, found)
    if found is None or batch is None or batch["state"] != "in_progress":
        return None
    row = db.execute(_NEXT_LINE, {"batch": found, "now": now}).mappings().first()
    if row is None:
        return None
    line = ClaimedLine(
        batch_id=found,
        batch_created_at=batch["created_at"],
        line=row["line"],
        token=token,
        caller=caller_of(batch),
        endpoint=batch["endpoint"],
        body=row["body"],
        attempts=row["attempts"] + 1,
        claimed_at=now,
    )
    db.execute(_CLAIM, _key(line) | {"until": now + LEASE_SECONDS})
    db.execute(_TAKE_TURN, {"batch": found, "now": now})
    return line


def _finish(db: sa.Connection, line: ClaimedLine, outcome: LineOutcome) -> bool:
    if lock(db, line.batch_id) is None:
        return False
    scope = Scope(tenant=line.caller.tenant, collection=outcome.collection)
    versions = unchanged_since(db, scope, outcome.document_ids, line.claimed_at)
    if versions is None:
        return False
    ended = {
        "its_state": outcome.state,
        "its_status": outcome.status,
        "its_response": outcome.response,
        "its_error": outcome.error,
    }
    if not db.execute(_END, _key(line) | ended).rowcount:
        return False
    link(db, scope, versions, batch_id=line.batch_id, line=line.line)
    done = outcome.state == "done"
    count(db, line.batch_id, completed=int(done), failed=int(not done))
    settle(db, line.batch_id)
    return True


def _sweep(db: sa.Connection, batch_id: str, *, now: float) -> None:
    row = lock(db, batch_id)
    if row is None or row["ended_at"] is not None:
        return
    if row["state"] == "cancelling":
        fail_lines(db, batch_id, CANCELLED, is_free(now))
        settle(db, batch_id)
    if row["expires_at"] <= now:
        fail_lines(db, batch_id, EXPIRED)
        mine = batches.update().where(batches.c.id == batch_id, _NOT_ENDED)
        db.execute(mine.values(state="expired", ended_at=now))


def _key(line: ClaimedLine) -> dict[str, str | int]:
    """Returns the parameters of `_HELD`."""
    return {"batch": line.batch_id, "number": line.line, "holder": line.token}
