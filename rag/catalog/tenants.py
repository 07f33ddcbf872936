"""The tenants of the catalog: what each has, in all tables that have a tenant."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import sqlalchemy as sa

from rag.catalog.database import Database
from rag.catalog.schema import metadata
from rag.catalog.sql import OPEN, scope_of
from rag.catalog.tables import answers, api_keys, collections, documents, tasks
from rag.records import TenantRecord
from rag.types import Scope

TABLES = tuple(table for table in metadata.sorted_tables if "tenant" in table.c)
"""The tables with rows of tenants, parents before children: a new one is among them by itself."""
HIDDEN = frozenset({"digest", "previous_digest"})
"""Columns that no export has: hashes of keys."""
ROWS_AT_ONCE = 500
"""Rows that are read, or deleted, together."""
_COUNTS: dict[str, sa.Select[Any]] = {
    "collections": sa.select(collections.c.tenant, sa.func.count().label("n")),
    "documents": sa.select(documents.c.tenant, sa.func.count().label("n")),
    "chunks": sa.select(documents.c.tenant, sa.func.sum(documents.c.chunks).label("n")),
    "open_tasks": sa.select(tasks.c.tenant, sa.func.count().label("n")).where(
        tasks.c.state.in_(OPEN)
    ),
    "answers": sa.select(answers.c.tenant, sa.func.count().label("n")),
    "keys": sa.select(api_keys.c.tenant, sa.func.count().label("n")).where(
        api_keys.c.revoked_at.is_(None)
    ),
}


class Tenants:
    """Lists tenants, and reads and deletes all rows of one."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def all(self) -> list[TenantRecord]:
        """Returns the tenants that have rows in any table, by name, with what they have."""
        names = sa.union(*(sa.select(table.c.tenant) for table in TABLES))
        found = {row["tenant"]: dict.fromkeys(_COUNTS, 0) for row in await self._db.rows(names)}
        for name, query in _COUNTS.items():
            for row in await self._db.rows(query.group_by(sa.text("tenant"))):
                if row["tenant"] in found:
                    found[row["tenant"]][name] = row["n"] or 0
        return [TenantRecord(name=name, **found[name]) for name in sorted(found) if name]

    async def scopes(self, tenant: str) -> list[Scope]:
        """Returns a tenant's collections, by name; those that are being removed, too."""
        mine = collections.select().where(collections.c.tenant == tenant)
        return [
            scope_of(row) for row in await self._db.rows(mine.order_by(collections.c.collection))
        ]

    async def rows(self, tenant: str, table: sa.Table) -> AsyncIterator[Sequence[dict[str, Any]]]:
        """Yields a tenant's rows of a table in the order of its key, without `HIDDEN` columns."""
        keys = list(table.primary_key)
        mine = table.select().where(table.c.tenant == tenant).order_by(*keys).limit(ROWS_AT_ONCE)
        page = mine
        while rows := await self._db.rows(page):
            yield [{n: value for n, value in row.items() if n not in HIDDEN} for row in rows]
            last = [sa.literal(rows[-1][key.name], key.type) for key in keys]
            page = mine.where(sa.tuple_(*keys) > sa.tuple_(*last))

    async def delete(self, tenant: str, *tables: sa.Table) -> None:
        """Deletes a tenant's rows of these tables, a part at a time."""
        for table in sorted(tables, key=TABLES.index, reverse=True):  # children before parents
            keys = list(table.primary_key)
            some = sa.select(*keys).where(table.c.tenant == tenant).limit(ROWS_AT_ONCE)
            part = -1
            while part:
                async with self._db.write() as db:
                    these = [tuple(row) for row in (await db.execute(some)).all()]
                    if these:
                        await db.execute(table.delete().where(sa.tuple_(*keys).in_(these)))
                part = len(these)
