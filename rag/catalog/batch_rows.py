"""Rows of batches: their owners, their records, and how they end.

A transaction that writes lines locks the row of their batch first, and is about one batch: so no
two of them can deadlock.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from rag.catalog.batch_tables import batch_lines, batches
from rag.records import Batch
from rag.types import Principal

_IS_OPEN = sa.text("'open'")
"""The value in the condition of the partial index, which PostgreSQL and SQLite then use."""
OPEN = batch_lines.c.state == _IS_OPEN
"""Condition on a line: it has not ended."""
LINES_LEFT = sa.select(
    sa.func.sum(batches.c.total - batches.c.completed - batches.c.failed).label("left"),
    sa.func.min(batches.c.expires_at).label("first"),
).where(batches.c.ended_at.is_(None))
"""The lines of all tenants that have not ended, and when the first batch of them expires; null
where there is no open batch.
"""

# Statements of every line are built once: building one takes longer than running it.
_LOCK = batches.select().where(batches.c.id == sa.bindparam("batch")).with_for_update()
_COUNT = (
    batches.update()
    .where(batches.c.id == sa.bindparam("batch"))
    .values(
        completed=batches.c.completed + sa.bindparam("more_completed"),
        failed=batches.c.failed + sa.bindparam("more_failed"),
    )
)
_SETTLE = (
    batches.update()
    .where(
        batches.c.id == sa.bindparam("batch"),
        batches.c.state.in_(("in_progress", "cancelling")),
        ~sa.exists().where(batch_lines.c.batch_id == batches.c.id, OPEN),
    )
    .values(
        state=sa.case((batches.c.state == "cancelling", "cancelled"), else_="completed"),
        ended_at=sa.bindparam("now"),
    )
)
CANCELLED = {"code": "batch_cancelled", "message": "The batch was cancelled before this line."}
EXPIRED = {
    "code": "batch_expired",
    "message": "The batch expired before this line was answered. Send it again in a new batch.",
}


def owned(table: sa.Table, caller: Principal) -> sa.ColumnElement[bool]:
    """Returns the condition on rows that a caller may know of.

    They are of the same key or of the same user; with the permission `admin`, of the tenant.
    """
    mine = table.c.tenant == caller.tenant
    if caller.may("admin"):
        return mine
    same = [
        table.c[name] == value
        for name, value in (("key_id", caller.key_id), ("subject", caller.subject))
        if value
    ]
    return sa.and_(mine, sa.or_(sa.false(), *same))


def owner_row(caller: Principal) -> dict[str, str]:
    """Returns the columns of an owner."""
    return {"tenant": caller.tenant, "key_id": caller.key_id, "subject": caller.subject}


def caller_json(caller: Principal) -> dict[str, Any]:
    """Returns what a batch keeps of its caller, besides the columns of its owner."""
    collections = None if caller.collections is None else sorted(caller.collections)
    return {
        "groups": sorted(caller.groups),
        "scopes": sorted(caller.scopes),
        "collections": collections,
    }


def caller_of(row: sa.RowMapping) -> Principal:
    """Returns the caller of a batch, as it was when the batch was made."""
    kept = row["caller"]
    collections = kept["collections"]
    return Principal(
        tenant=row["tenant"],
        subject=row["subject"],
        key_id=row["key_id"],
        groups=frozenset(kept["groups"]),
        scopes=frozenset(kept["scopes"]),
        collections=None if collections is None else frozenset(collections),
    )


def batch_of(row: sa.RowMapping) -> Batch:
    """Returns the record of a row."""
    same = Batch.__dataclass_fields__.keys() - {"caller"}
    return Batch(caller=caller_of(row), **{name: row[name] for name in same})


def lock(db: sa.Connection, batch_id: str) -> sa.RowMapping | None:
    """Locks a batch until the end of the transaction, and returns its row; None if it is gone."""
    return db.execute(_LOCK, {"batch": batch_id}).mappings().first()


def count(db: sa.Connection, batch_id: str, *, completed: int = 0, failed: int = 0) -> None:
    """Adds lines that have ended to the counts of their batch."""
    more = {"more_completed": completed, "more_failed": failed}
    db.execute(_COUNT, more | {"batch": batch_id})


def is_free(now: float) -> sa.ColumnElement[bool]:
    """Returns the condition on open lines that no process answers."""
    return sa.or_(batch_lines.c.token.is_(None), batch_lines.c.due_at <= now)


def fail_lines(
    db: sa.Connection, batch_id: str, error: Mapping[str, str], *which: sa.ColumnElement[bool]
) -> None:
    """Ends the open lines of a batch with an error: all, or those of a condition."""
    mine = batch_lines.update().where(batch_lines.c.batch_id == batch_id, OPEN, *which)
    ended = {"state": "failed", "error": error, "body": "", "token": None}
    count(db, batch_id, failed=db.execute(mine.values(ended)).rowcount)


def settle(db: sa.Connection, batch_id: str) -> None:
    """Ends a batch that has no open line any more."""
    db.execute(_SETTLE, {"batch": batch_id, "now": time.time()})
