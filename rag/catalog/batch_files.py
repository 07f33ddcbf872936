"""The files of requests that callers send for batches."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, fields
from uuid import uuid4

import sqlalchemy as sa

from rag.catalog.batch_rows import owned, owner_row
from rag.catalog.batch_tables import batch_file_parts, batch_files, batches
from rag.catalog.database import Database
from rag.catalog.paging import behind
from rag.errors import NotFoundError
from rag.records import BatchFile
from rag.text.validation_errors import shortened
from rag.types import Principal

PART_BYTES = 1 << 16
"""Bytes of a part; an export of a tenant reads 500 rows at once."""
PARTS_AT_ONCE = 16


class BatchFiles:
    """Queries and changes of the files. A file that the caller may not know of is not found."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def add(self, caller: Principal, filename: str, content: bytes) -> BatchFile:
        """Stores a file of the caller."""
        file = BatchFile(
            id=f"file-{uuid4().hex}",
            filename=filename,
            bytes=len(content),
            created_at=time.time(),
        )
        parts = [
            {
                "file_id": file.id,
                "number": number,
                "tenant": caller.tenant,
                "content": content[start : start + PART_BYTES],
            }
            for number, start in enumerate(range(0, len(content), PART_BYTES))
        ]
        async with self._db.write() as db:
            await db.execute(batch_files.insert().values(asdict(file) | owner_row(caller)))
            await db.execute(batch_file_parts.insert(), parts)
        return file

    async def page(
        self, caller: Principal, *, limit: int, after: str | None, oldest_first: bool
    ) -> Sequence[BatchFile]:
        """Returns the caller's files; those behind the file `after`, if it is given.

        Raises:
            NotFoundError: The caller has no file `after`.
        """
        mine = owned(batch_files, caller)
        query = await behind(self._db, batch_files, mine, after, oldest_first=oldest_first)
        return [_file(row) for row in await self._db.rows(query.limit(limit))]

    async def get(self, caller: Principal, id_: str) -> BatchFile:
        """Returns a file.

        Raises:
            NotFoundError: The caller has no such file.
        """
        mine = owned(batch_files, caller)
        rows = await self._db.rows(batch_files.select().where(batch_files.c.id == id_, mine))
        if not rows:
            raise no_file(id_)
        return _file(rows[0])

    async def content(self, id_: str) -> AsyncIterator[bytes]:
        """Yields the content of a file, part by part; nothing if there is none."""
        mine = sa.select(batch_file_parts.c.number, batch_file_parts.c.content)
        mine = mine.where(batch_file_parts.c.file_id == id_).order_by(batch_file_parts.c.number)
        last = -1
        while rows := await self._db.rows(
            mine.where(batch_file_parts.c.number > last).limit(PARTS_AT_ONCE)
        ):
            for row in rows:
                yield row["content"]
            last = rows[-1]["number"]

    async def delete(self, caller: Principal, id_: str) -> None:
        """Deletes a file; batches that have read it go on.

        Raises:
            NotFoundError: The caller has no such file.
        """
        mine = batch_files.delete().where(batch_files.c.id == id_, owned(batch_files, caller))
        async with self._db.write() as db:
            if not (await db.execute(mine)).rowcount:
                raise no_file(id_)
            await db.execute(batch_file_parts.delete().where(batch_file_parts.c.file_id == id_))

    async def forget(self, *, before: float) -> None:
        """Deletes the files that were sent before a time; not those of batches that are unread."""
        unread = sa.select(batches.c.input_file_id).where(batches.c.state == "validating")
        old = sa.and_(batch_files.c.created_at < before, batch_files.c.id.not_in(unread))
        for row in await self._db.rows(sa.select(batch_files.c.id).where(old)):
            async with self._db.write() as db:
                for table, key in (
                    (batch_file_parts, batch_file_parts.c.file_id),
                    (batch_files, batch_files.c.id),
                ):
                    await db.execute(table.delete().where(key == row["id"]))


def no_file(id_: str) -> NotFoundError:
    """Returns the error for a file that there is not, or that the caller may not know of."""
    return NotFoundError(f"There is no file {shortened(id_)!r}.", code="unknown_file")


def _file(row: sa.RowMapping) -> BatchFile:
    return BatchFile(**{field.name: row[field.name] for field in fields(BatchFile)})
