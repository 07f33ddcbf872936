"""The removal of collections with everything in them.

A collection is marked first: from then on it is as one that does not exist, and nothing is sent to
it. Its row goes last, so that a removal that was cut short is finished later.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from rag.catalog.collections import no_collection
from rag.catalog.database import Database
from rag.catalog.sql import in_scope, scope_of, spool_keys, utc_now
from rag.catalog.tables import (
    answer_documents,
    answers,
    collections,
    content_versions,
    document_readers,
    documents,
    jobs,
    staged,
    tasks,
    texts,
)
from rag.types import Scope

ROWS_AT_ONCE = 1000
"""Rows of a table that are deleted in one transaction: others write in between."""
_LAST = (tasks, jobs, texts, documents, document_readers, collections, content_versions)
_RUNS = tasks.c.state == "running"


@dataclass(frozen=True, slots=True)
class Files:
    """The keys of files that nothing needs any more: in the spool, and of originals."""

    spool: set[str] = field(default_factory=set)
    originals: set[str] = field(default_factory=set)


class Removals:
    """Removes the rows of collections."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def begin(self, scope: Scope) -> None:
        """Marks a collection as being removed.

        Raises:
            NotFoundError: There is no such collection.
        """
        mine = in_scope(scope, collections) & collections.c.removed_at.is_(None)
        async with self._db.write() as db:
            marked = await db.execute(collections.update().where(mine).values(removed_at=utc_now()))
            if not marked.rowcount:
                raise no_collection(scope.collection)

    async def begun(self) -> list[Scope]:
        """Returns the collections, of all tenants, whose removal is not finished."""
        query = sa.select(collections.c.tenant, collections.c.collection)
        rows = await self._db.rows(query.where(collections.c.removed_at.is_not(None)))
        return [scope_of(row) for row in rows]

    async def running(self, scope: Scope) -> list[str]:
        """Returns the ids of the documents that a worker may be writing."""
        query = sa.select(tasks.c.document_id).where(in_scope(scope, tasks), _RUNS)
        return [row["document_id"] for row in await self._db.rows(query)]

    async def clear(self, scope: Scope) -> Files:
        """Deletes the collection's rows, but the tasks that run; returns the files they named.

        Marks of unsettled documents stay: what was being written to the index meanwhile is removed
        by them.
        """
        files = Files()
        open_ = in_scope(scope, tasks) & ~_RUNS
        async for rows in self._deleted(tasks, open_, tasks.c.source):
            files.spool.update(spool_keys(rows))
        mine = in_scope(scope, documents)
        columns = (documents.c.source, documents.c.original)
        async for rows in self._deleted(documents, mine, *columns):
            files.spool.update(spool_keys(rows))
            files.originals.update(row["original"] for row in rows if row["original"])
        for table in (document_readers, texts, answer_documents, answers, staged):
            async for _ in self._deleted(table, in_scope(scope, table)):
                """The rows name no files."""
        return files

    async def _deleted(
        self, table: sa.Table, which: sa.ColumnElement[bool], *columns: sa.ColumnElement[Any]
    ) -> AsyncIterator[Sequence[sa.RowMapping]]:
        """Deletes rows, `ROWS_AT_ONCE` in a transaction; yields these columns of them, and keys."""
        keys = list(table.primary_key)
        some = sa.select(*keys, *columns).where(which).limit(ROWS_AT_ONCE)
        while True:
            async with self._db.write() as db:
                rows = (await db.execute(some)).mappings().all()
                if not rows:
                    return
                these = [tuple(row[key.name] for key in keys) for row in rows]
                await db.execute(table.delete().where(sa.tuple_(*keys).in_(these)))
            yield rows

    async def end(self, scope: Scope) -> Files:
        """Deletes what is left, and the collection itself; returns the files that were named."""
        async with self._db.write() as db:
            theirs = in_scope(scope, tasks)
            rows = (await db.execute(sa.select(tasks.c.source).where(theirs))).mappings().all()
            for table in _LAST:
                await db.execute(table.delete().where(in_scope(scope, table)))
        return Files(spool=spool_keys(rows))
