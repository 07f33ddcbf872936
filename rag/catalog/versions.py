"""The versions of an index: how each document was cut for the current and the previous one."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, fields
from typing import Any

import sqlalchemy as sa

from rag.catalog.database import Database
from rag.catalog.sql import document_record, in_scope, of_document, replace_version
from rag.catalog.staged import Staged
from rag.catalog.tables import collections, documents
from rag.catalog.unsettled import Unsettled
from rag.records import Cut, DocumentRecord
from rag.types import Scope


class Versions:
    """Queries and changes of the cuts of a collection's documents."""

    def __init__(self, database: Database, unsettled: Unsettled, staged: Staged) -> None:
        self._db = database
        self._unsettled = unsettled
        self._staged = staged

    async def document_ids(self, scope: Scope) -> list[str]:
        """Returns the ids of the documents that were read at least once, in order."""
        query = sa.select(documents.c.id).where(in_scope(scope, documents))
        query = query.where(documents.c.version != "").order_by(documents.c.id)
        return [row["id"] for row in await self._db.rows(query)]

    async def previous(self, scope: Scope) -> tuple[str, dict[str, Cut]] | None:
        """Returns the previous version's embedder and its cuts by document id; None if none."""
        query = sa.select(collections.c.previous_embedder).where(in_scope(scope, collections))
        rows = await self._db.rows(query)
        if not rows or rows[0]["previous_embedder"] is None:
            return None
        cuts = sa.select(documents.c.id, documents.c.previous).where(in_scope(scope, documents))
        kept = await self._db.rows(cuts.where(documents.c.previous.is_not(None)))
        return rows[0]["previous_embedder"], {row["id"]: Cut(**row["previous"]) for row in kept}

    @contextlib.asynccontextmanager
    async def switching(
        self, scope: Scope, cuts: Mapping[str, Cut], *, embedder: str
    ) -> AsyncIterator[None]:
        """Records the cuts of the version that the block switches to; nothing if the block fails.

        The cuts recorded until then become the previous ones. A document that was added, changed
        or deleted since it was cut is unsettled until it is `recut`, and so is one that is being
        written. The staged switch is removed.
        """
        mine = in_scope(scope, documents)
        async with self._db.write() as db:
            rows = (await db.execute(documents.select().where(mine))).mappings().all()
            await db.execute(
                collections.update()
                .where(in_scope(scope, collections))
                .values(previous_embedder=collections.c.embedder, embedder=embedder)
            )
            unknown = {"previous": None, "recipe": ""}
            await db.execute(documents.update().where(mine).values(unknown))
            changes = [
                {"key": row["id"], **_recut(cuts[row["id"]]), "previous": asdict(_cut(row))}
                for row in rows
                if row["id"] in cuts and is_of(cuts[row["id"]], document_record(row))
            ]
            if changes:
                one = mine & (documents.c.id == sa.bindparam("key"))
                await db.execute(documents.update().where(one), changes)
            known = {*cuts, *(row["id"] for row in rows if row["version"])}
            doubtful = known - {change["key"] for change in changes}
            await db.run_sync(self._unsettled.mark, scope, doubtful)
            await self._staged.clear(db, scope)
            yield
            # Last: those that began until the switch have a mark by now, and cannot remove it
            # before the end of this transaction, which has changed their documents.
            await self._unsettled.switched(db, scope)
            await db.run_sync(replace_version, scope)

    async def recut(self, scope: Scope, document_id: str, cut: Cut, *, switches: int = 0) -> None:
        """Records how a document is cut now, and removes its mark (`Unsettled.unmark`)."""
        one = of_document(scope, document_id, documents)
        async with self._db.write() as db:
            await db.execute(documents.update().where(one).values(_recut(cut)))
            await db.run_sync(self._unsettled.unmark, scope, document_id, switches=switches)
            await db.run_sync(replace_version, scope)


def is_of(cut: Cut, record: DocumentRecord) -> bool:
    """Returns True if a cut is of the document's current bytes."""
    return (cut.version, cut.duplicate_of) == (record.version, record.duplicate_of)


def _cut(row: sa.RowMapping) -> Cut:
    return Cut(**{field.name: row[field.name] for field in fields(Cut)})


def _recut(cut: Cut) -> dict[str, Any]:
    return {"recipe": cut.recipe, "chunks": cut.chunks, "duplicate_of": cut.duplicate_of}
