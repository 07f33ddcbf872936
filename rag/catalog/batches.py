"""Batches of requests, as their callers see them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from rag.catalog.batch_rows import (
    CANCELLED,
    batch_of,
    caller_json,
    fail_lines,
    is_free,
    lock,
    owned,
    owner_row,
    settle,
)
from rag.catalog.batch_tables import batch_line_documents, batch_lines, batches
from rag.catalog.database import Database
from rag.catalog.paging import behind
from rag.errors import ConflictError, NotFoundError
from rag.records import ENDED, Batch, BatchEndpoint
from rag.text.validation_errors import shortened
from rag.types import Principal


class Batches:
    """Queries and changes of batches. One that the caller may not know of is not found."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def add(
        self,
        caller: Principal,
        *,
        input_file_id: str,
        endpoint: BatchEndpoint,
        metadata: Mapping[str, str] | None,
        seconds: float,
    ) -> Batch:
        """Stores a new batch, which expires in `seconds`; a runner reads its file."""
        now = time.time()
        row: dict[str, Any] = {
            "id": f"batch_{uuid4().hex}",
            **owner_row(caller),
            "caller": caller_json(caller),
            "endpoint": endpoint,
            "metadata": None if metadata is None else dict(metadata),
            "input_file_id": input_file_id,
            "state": "validating",
            **dict.fromkeys(("total", "completed", "failed"), 0),
            "created_at": now,
            "expires_at": now + seconds,
            **dict.fromkeys(("claimed_at", "due_at"), 0.0),
        }
        async with self._db.write() as db:
            await db.execute(batches.insert().values(row))
        return await self.get(caller, row["id"])

    async def page(self, caller: Principal, *, limit: int, after: str | None) -> Sequence[Batch]:
        """Returns the caller's batches, newest first; those behind `after`, if it is given.

        Raises:
            NotFoundError: The caller has no batch `after`.
        """
        query = await behind(self._db, batches, owned(batches, caller), after)
        return [batch_of(row) for row in await self._db.rows(query.limit(limit))]

    async def get(self, caller: Principal, id_: str) -> Batch:
        """Returns a batch.

        Raises:
            NotFoundError: The caller has no such batch.
        """
        mine = batches.select().where(batches.c.id == id_, owned(batches, caller))
        rows = await self._db.rows(mine)
        if not rows:
            raise no_batch(id_)
        return batch_of(rows[0])

    async def cancel(self, caller: Principal, id_: str) -> Batch:
        """Ends the lines that are not under way; those are finished, and then the batch ends.

        Raises:
            NotFoundError: The caller has no such batch.
            ConflictError: It has ended.
        """
        batch = await self.get(caller, id_)
        if batch.state in ENDED:
            raise ConflictError(
                f"The batch is {batch.state} already, and cannot be cancelled.", code="batch_ended"
            )
        await self._db.change(_cancel, id_, now=time.time())
        return await self.get(caller, id_)

    async def delete(self, caller: Principal, id_: str) -> None:
        """Deletes a batch that has ended, with its responses.

        Raises:
            NotFoundError: The caller has no such batch.
            ConflictError: It has not ended.
        """
        batch = await self.get(caller, id_)
        if batch.state not in ENDED:
            raise ConflictError(
                "The batch has not ended: cancel it, and delete it then.", code="batch_open"
            )
        await self._db.change(_delete, id_)

    async def forget(self, *, before: float) -> None:
        """Deletes the batches that ended before a time, with their responses, one by one."""
        for row in await self._db.rows(sa.select(batches.c.id).where(batches.c.ended_at < before)):
            await self._db.change(_delete, row["id"])


def no_batch(id_: str) -> NotFoundError:
    """Returns the error for a batch that there is not, or that the caller may not know of."""
    return NotFoundError(f"There is no batch {shortened(id_)!r}.", code="unknown_batch")


def _delete(db: sa.Connection, id_: str) -> None:
    for table in (batch_line_documents, batch_lines):
        db.execute(table.delete().where(table.c.batch_id == id_))
    db.execute(batches.delete().where(batches.c.id == id_))


def _cancel(db: sa.Connection, id_: str, *, now: float) -> None:
    row = lock(db, id_)
    if row is None or row["state"] in ENDED:
        return
    if row["state"] == "validating":  # what was read of its file so far
        db.execute(batch_lines.delete().where(batch_lines.c.batch_id == id_))
    cancelling = {"state": "cancelling", "cancelling_at": row["cancelling_at"] or now}
    db.execute(batches.update().where(batches.c.id == id_).values(cancelling))
    fail_lines(db, id_, CANCELLED, is_free(now))
    settle(db, id_)
