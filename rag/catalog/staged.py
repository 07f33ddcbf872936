"""Switches to another version of an index, recorded before the index is switched.

If the process is killed between the two, the next start sees in the index which version is
searched, and finishes the switch in the catalog or drops it (`ingest.settling`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import sqlalchemy as sa

from rag.catalog.database import Database, Transaction
from rag.catalog.sql import in_scope, scope_of, scope_row
from rag.catalog.tables import collections, documents, staged
from rag.records import GONE, Cut, Switch
from rag.types import Scope

_STATE = documents.c.updated_at.concat(" ").concat(documents.c.recipe)
"""Expression on a document; its value changes whenever the document's chunks are written."""
_NONE = {"next_version": None, "next_embedder": None}


class Staged:
    """The switches that are under way, at most one for each collection."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def add(self, scope: Scope, switch: Switch) -> None:
        """Records a switch before it is made; a switch staged before is dropped."""
        seen = sa.select(documents.c.id, _STATE.label("state")).where(in_scope(scope, documents))
        naming = {"next_version": switch.version, "next_embedder": switch.embedder}
        async with self._db.write() as db:
            await self.clear(db, scope)
            at = {row.id: row.state for row in await db.execute(seen)}
            rows = [
                scope_row(scope) | {"document_id": id_, "cut": asdict(cut), "seen": at.get(id_)}
                for id_, cut in switch.cuts.items()
            ]
            if rows:
                await db.execute(staged.insert(), rows)
            await db.execute(
                collections.update().where(in_scope(scope, collections)).values(naming)
            )

    async def clear(self, db: Transaction, scope: Scope) -> None:
        """Drops the staged switch, as part of a transaction."""
        await db.execute(collections.update().where(in_scope(scope, collections)).values(_NONE))
        await db.execute(staged.delete().where(in_scope(scope, staged)))

    async def drop(self, scope: Scope) -> None:
        """Drops the staged switch, in a separate transaction."""
        async with self._db.write() as db:
            await self.clear(db, scope)

    async def scopes(self) -> list[Scope]:
        """Returns the collections of all tenants with a staged switch."""
        query = sa.select(collections.c.tenant, collections.c.collection)
        rows = await self._db.rows(query.where(collections.c.next_version.is_not(None)))
        return [scope_of(row) for row in rows]

    async def of(self, scope: Scope) -> Switch | None:
        """Returns the staged switch; the cut of a document written since then is `GONE`."""
        named = sa.select(collections.c.next_version, collections.c.next_embedder)
        rows = await self._db.rows(named.where(in_scope(scope, collections)))
        if not rows or rows[0]["next_version"] is None:
            return None
        return Switch(
            version=rows[0]["next_version"],
            embedder=rows[0]["next_embedder"],
            cuts=await self._cuts(scope),
        )

    async def _cuts(self, scope: Scope) -> Mapping[str, Cut]:
        its = in_scope(scope, documents) & (documents.c.id == staged.c.document_id)
        query = sa.select(
            staged.c.document_id,
            staged.c.cut,
            (staged.c.seen == _STATE).label("same"),
        ).select_from(staged.outerjoin(documents, its))
        rows = await self._db.rows(query.where(in_scope(scope, staged)))
        return {row["document_id"]: Cut(**row["cut"]) if row["same"] else GONE for row in rows}
