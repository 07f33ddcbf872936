"""The ledger in the catalog: what requests and documents used, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import sqlalchemy as sa

from rag.catalog.database import Database
from rag.catalog.sql import key_columns
from rag.catalog.tables import usage, usage_writers
from rag.errors import BusyError
from rag.records import LedgerRow

Group = Literal["tenant", "key", "subject", "model", "feature", "outcome", "day"]
"""The columns that sums are grouped by; a day is one of UTC."""
GROUPS: tuple[Group, ...] = get_args(Group)
MAX_SUMS = 10_000
"""Most rows of a report: a group of users and days may have millions."""
MAX_OUTLIERS = 20
_DAY_SECONDS = 86_400
_COLUMNS: dict[Group, sa.ColumnElement[Any]] = {
    "tenant": usage.c.tenant,
    "key": usage.c.key_id,
    "subject": usage.c.subject,
    "model": usage.c.model,
    "feature": usage.c.feature,
    "outcome": usage.c.outcome,
    "day": sa.cast(sa.func.floor(usage.c.started_at / _DAY_SECONDS), sa.Integer),
}
_SUMMED = ("input_tokens", "output_tokens", "cached_tokens", "gpu_seconds", "cost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Rows of work that began from `since` to before `until`, of a tenant, a key or a user, or all.

    Whoever serves a caller sets the tenant; with None, the rows of all tenants are summed.
    """

    tenant: str | None
    key_id: str | None = None
    subject: str | None = None
    since: float
    until: float


class Usage:
    """Queries and changes of the ledger. A row is never removed, and is closed once."""

    def __init__(self, database: Database) -> None:
        self._db = database
        new = database.insert(usage)
        self._open = new.on_conflict_do_nothing()
        columns = [column.name for column in usage.c if not column.primary_key]
        self._close = new.on_conflict_do_update(
            index_elements=key_columns(usage),
            set_={name: new.excluded[name] for name in columns},
        )

    async def write(self, rows: Sequence[LedgerRow]) -> None:
        """Writes rows of any tenants: all or none. Writing one again changes nothing.

        A row that is closed is not opened again.
        """
        under_way = [asdict(row) for row in rows if row.outcome == "open"]
        closed = [asdict(row) for row in rows if row.outcome != "open"]
        async with self._db.write() as db:
            if under_way:
                await db.execute(self._open, under_way)
            if closed:
                await db.execute(self._close, closed)

    def writing(self, writer: str) -> AbstractAsyncContextManager[None]:
        """Holds the lock that shows that a writer lives."""
        return self._db.alone(*_lock(writer))

    async def begin_writer(self, writer: str) -> None:
        """Lists a process that writes the ledger."""
        async with self._db.write() as db:
            await db.execute(usage_writers.insert().values(id=writer, started_at=time.time()))

    async def end_writer(self, writer: str) -> int:
        """Removes a writer, and closes the rows that it left open; returns their number."""
        theirs = sa.and_(usage.c.writer == writer, usage.c.outcome == "open")
        ended = {"outcome": "interrupted", "finished_at": time.time()}
        async with self._db.write() as db:
            closed = (await db.execute(usage.update().where(theirs).values(ended))).rowcount
            await db.execute(usage_writers.delete().where(usage_writers.c.id == writer))
        return closed

    async def end_dead_writers(self) -> dict[str, int]:
        """Ends the writers whose processes have died, as `end_writer` does.

        Returns:
            The number of rows that each of them left open.
        """
        found: dict[str, int] = {}
        for row in await self._db.rows(usage_writers.select()):
            try:
                async with self._db.alone(*_lock(row["id"]), wait=False):
                    found[row["id"]] = await self.end_writer(row["id"])
            except BusyError:  # it lives
                continue
        return found

    async def spent(self, tenant: str, key_id: str | None, *, since: float) -> float:
        """Returns the cost of what a tenant, or one of its keys, has used.

        Shadows are not among it: nobody of the tenant asked for them.
        """
        own = usage.c.feature != "shadow"
        theirs = [usage.c.tenant == tenant, usage.c.started_at >= since, own]
        if key_id is not None:
            theirs.append(usage.c.key_id == key_id)
        (row,) = await self._db.rows(sa.select(sa.func.sum(usage.c.cost)).where(*theirs))
        return float(row["sum_1"] or 0.0)

    async def sums(self, period: Period, by: Sequence[Group]) -> list[dict[str, Any]]:
        """Returns sums by group, the most expensive first: at most `MAX_SUMS`.

        `requests` counts what ended or is under way; `interrupted` and `estimated` count the rows
        whose tokens are not known, or not reported.
        """
        groups = [_COLUMNS[name].label(name) for name in by]
        first = sa.case((usage.c.part == 0, 1), else_=0)
        interrupted = sa.case((usage.c.outcome == "interrupted", 1), else_=0)
        estimated = sa.case((usage.c.estimated, 1), else_=0)
        sums = [sa.func.sum(usage.c[name]).label(name) for name in _SUMMED]
        query = sa.select(
            *groups,
            sa.func.sum(first).label("requests"),
            sa.func.sum(interrupted).label("interrupted"),
            sa.func.sum(estimated).label("estimated"),
            *sums,
        )
        order = (sa.desc("cost"), *groups)
        query = query.where(*_within(period)).group_by(*groups).order_by(*order).limit(MAX_SUMS)
        rows = await self._db.rows(query)
        return [_sum(row) for row in rows if row["requests"] is not None]

    async def outliers(self, period: Period) -> list[LedgerRow]:
        """Returns the latest requests that cost many times the usual, at most `MAX_OUTLIERS`."""
        query = usage.select().where(*_within(period), usage.c.outlier)
        query = query.order_by(usage.c.started_at.desc(), usage.c.id).limit(MAX_OUTLIERS)
        names = [field.name for field in fields(LedgerRow)]
        rows = await self._db.rows(query)
        return [LedgerRow(**{name: row[name] for name in names}) for row in rows]


def _lock(writer: str) -> tuple[Hashable, ...]:
    return ("usage", writer)


def _within(period: Period) -> list[sa.ColumnElement[bool]]:
    found = [usage.c.started_at >= period.since, usage.c.started_at < period.until]
    if period.tenant is not None:
        found.append(usage.c.tenant == period.tenant)
    if period.key_id is not None:
        found.append(usage.c.key_id == period.key_id)
    if period.subject is not None:
        found.append(usage.c.subject == period.subject)
    return found


def _sum(row: sa.RowMapping) -> dict[str, Any]:
    found = dict(row)
    for name in ("requests", "interrupted", "estimated", *_SUMMED[:3]):
        found[name] = int(found[name])  # PostgreSQL sums them as decimal numbers
    if "day" in found:
        day = time.gmtime(found["day"] * _DAY_SECONDS)
        found["day"] = time.strftime("%Y-%m-%d", day)
    return found
