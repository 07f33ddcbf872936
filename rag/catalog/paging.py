"""Pages in the order of time, by the id of the last object before them, as in OpenAI's API."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from rag.catalog.database import Database
from rag.errors import NotFoundError


async def behind(
    database: Database,
    table: sa.Table,
    which: sa.ColumnElement[bool],
    after: str | None,
    *,
    oldest_first: bool = False,
) -> sa.Select[Any]:
    """Returns the query of the rows behind the one with the id `after`, or of all: newest first.

    Raises:
        NotFoundError: No such row fulfils `which`.
    """
    place = sa.tuple_(table.c.created_at, table.c.id)
    query: sa.Select[Any] = table.select().where(which)
    if after is not None:
        rows = await database.rows(sa.select(table.c.created_at).where(table.c.id == after, which))
        if not rows:
            raise NotFoundError("`after` is no id that this listing gave.", code="invalid_cursor")
        last = sa.tuple_(sa.literal(rows[0]["created_at"], sa.Float), sa.literal(after, sa.String))
        query = query.where(place > last if oldest_first else place < last)
    columns = (table.c.created_at, table.c.id)
    return query.order_by(*(each if oldest_first else each.desc() for each in columns))
