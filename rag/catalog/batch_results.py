"""What batches have made: responses and errors, as far as their reader may read them now."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Literal

import sqlalchemy as sa

from rag.catalog.acls import default_of, readable_by
from rag.catalog.batch_tables import batch_line_documents, batch_lines
from rag.catalog.database import Database
from rag.catalog.sql import same_document
from rag.catalog.tables import collections, documents
from rag.records import BatchLine
from rag.types import Principal

LINES_AT_ONCE = 16
"""Lines that are read together: a response with 2,048 vectors has some 16 MB."""
HIDDEN = {
    "code": "document_hidden",
    "message": "The response has text of a document that the caller may not read.",
}
_READ = ("line", "custom_id", "state", "status", "response", "error")
_LINKED = sa.and_(
    batch_line_documents.c.batch_id == batch_lines.c.batch_id,
    batch_line_documents.c.line == batch_lines.c.line,
)


class BatchResults:
    """Reads the lines of batches that have ended."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def lines(
        self, caller: Principal, batch_id: str, state: Literal["done", "failed"]
    ) -> AsyncIterator[BatchLine]:
        """Yields the lines of a batch that ended so, in their order.

        A response with text of a document that the caller may not read is left out: ACLs, and the
        collections that a key reaches, hold as they are now.
        """
        hidden = sa.exists().where(_LINKED, ~await self._readable(caller)).label("hidden")
        mine = sa.select(*(batch_lines.c[name] for name in _READ), hidden)
        mine = mine.where(batch_lines.c.batch_id == batch_id, batch_lines.c.state == state)
        mine = mine.order_by(batch_lines.c.line).limit(LINES_AT_ONCE)
        last = 0
        while rows := await self._db.rows(mine.where(batch_lines.c.line > last)):
            for row in rows:
                line = BatchLine(**{name: row[name] for name in _READ})
                yield replace(line, response=None, error=HIDDEN) if row["hidden"] else line
            last = rows[-1]["line"]

    async def _readable(self, caller: Principal) -> sa.ColumnElement[bool]:
        """Returns the condition on a line's document that the caller may read it."""
        reached: sa.ColumnElement[bool] = sa.true()
        if caller.collections is not None:
            reached = batch_line_documents.c.collection.in_(sorted(caller.collections))
        if caller.readers is None:
            return reached
        theirs = sa.select(collections.c.collection, collections.c.acl)
        rows = await self._db.rows(theirs.where(collections.c.tenant == caller.tenant))
        open_ = [row["collection"] for row in rows if default_of(row["acl"]) & caller.readers]
        may_read = readable_by(caller.readers, by_default=documents.c.collection.in_(open_))
        it = same_document(documents, batch_line_documents)
        return reached & sa.exists().where(it, may_read)
