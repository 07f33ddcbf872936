"""Documents whose chunks in the index may differ from those recorded in the catalog.

A mark is written before the index is changed. It is removed in the transaction that records the
document's new state in the catalog. A mark that stays shows that a process was killed or that
writing failed: a mark without an open task makes `ingest.settling` repair the document.

A switch to another version of the index may come while a document is written: some of its chunks,
or all, are then in the version of before. So a mark counts the switches, and whoever has written
removes it only if there was none since they began.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import sqlalchemy as sa

from rag.catalog.database import Database, Transaction
from rag.catalog.sql import (
    OPEN,
    document_key,
    in_scope,
    key_columns,
    replace_version,
    same_document,
    scope_row,
    the_document,
)
from rag.catalog.tables import documents, tasks, unsettled
from rag.records import Cut
from rag.types import Scope

_KEY = key_columns(unsettled)
_FIND = unsettled.select().where(the_document(unsettled))
_REMOVE = unsettled.delete().where(
    the_document(unsettled), unsettled.c.switches == sa.bindparam("seen")
)
_DOUBT = "? "
_IS_KNOWN = (documents.c.recipe != "") & documents.c.recipe.not_like(f"{_DOUBT}%")
_DOUBT_RECIPE = (
    documents.update()
    .where(the_document(documents), _IS_KNOWN)
    .values(recipe=sa.literal(_DOUBT) + documents.c.recipe)
)
"""Puts a mark before a recipe, by which it is none of today's; its parts can still be read."""
_OPEN_TASK = sa.exists().where(same_document(tasks, unsettled), tasks.c.state.in_(OPEN))
_NOTHING: dict[str, str | int] = {"version": "", "recipe": "", "chunks": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The mark of a document that is not settled.

    For a deleted document `version` names the bytes of its chunks, `recipe` how they were cut and
    `chunks` their number; for any other document these are "", "" and 0. `switches` is the number
    of switches of the index since it was marked.
    """

    tenant: str
    collection: str
    document_id: str
    version: str
    recipe: str
    chunks: int
    switches: int

    @property
    def scope(self) -> Scope:
        """The tenant and collection of the document."""
        return Scope(tenant=self.tenant, collection=self.collection)

    @property
    def held(self) -> Cut:
        """The cut of the document that the index had."""
        return Cut(version=self.version, duplicate_of=None, recipe=self.recipe, chunks=self.chunks)


class Unsettled:
    """The marks. Methods that take a transaction, or its connection, run in it."""

    def __init__(self, database: Database) -> None:
        self._db = database
        new = database.insert(unsettled)
        self._mark = new.on_conflict_do_nothing()
        self._mark_anew = new.on_conflict_do_update(index_elements=_KEY, set_={"switches": 0})
        self._mark_deleted = new.on_conflict_do_update(
            index_elements=_KEY,
            set_={name: new.excluded[name] for name in ("version", "recipe", "chunks")},
        )

    async def add(self, scope: Scope, document_id: str) -> None:
        """Marks a document before all its chunks in the index are written."""
        await self._db.change(self.mark, scope, [document_id])

    async def note(self, scope: Scope, document_id: str) -> None:
        """Marks a document whose ACL changes; its chunks and its recipe stay as they are."""
        async with self._db.write() as db:
            await db.execute(self._mark, _row(scope, document_id) | _NOTHING)

    def mark(self, db: sa.Connection, scope: Scope, document_ids: Iterable[str]) -> None:
        """Marks documents and puts their recipes in doubt, so that none counts as unchanged."""
        ids = list(document_ids)
        if not ids:
            return
        db.execute(_DOUBT_RECIPE, [document_key(scope, id_) for id_ in ids])
        # After documents, as everywhere: no deadlock.
        db.execute(self._mark_anew, [_row(scope, id_) | _NOTHING for id_ in ids])

    async def mark_deleted(
        self,
        db: Transaction,
        scope: Scope,
        document_id: str,
        *,
        version: str,
        recipe: str,
        chunks: int,
    ) -> None:
        """Marks a deleted document; without a version, the mark of an earlier deletion stays."""
        values = _row(scope, document_id) | {"version": version, "recipe": recipe, "chunks": chunks}
        await db.execute(self._mark_deleted if version else self._mark, values)

    def unmark(
        self, db: sa.Connection, scope: Scope, document_id: str, *, switches: int = 0
    ) -> None:
        """Removes a mark that has outlived no more than these switches, if there is one."""
        db.execute(_REMOVE, document_key(scope, document_id) | {"seen": switches})

    async def remove(self, scope: Scope, document_id: str, *, switches: int = 0) -> None:
        """Removes a mark, in a separate transaction; the content has a new version from then on."""

        def settle(db: sa.Connection) -> None:
            self.unmark(db, scope, document_id, switches=switches)
            replace_version(db, scope)

        await self._db.change(settle)

    async def switched(self, db: Transaction, scope: Scope) -> None:
        """Notes in all marks of a collection that its index was switched."""
        more = {"switches": unsettled.c.switches + 1}
        await db.execute(unsettled.update().where(in_scope(scope, unsettled)).values(more))

    async def of(self, scope: Scope, document_id: str) -> Mark | None:
        """Returns a document's mark; None if there is none."""
        rows = await self._db.rows(_FIND, document_key(scope, document_id))
        return _read(rows[0]) if rows else None

    async def within(self, scope: Scope) -> Sequence[Mark]:
        """Returns all marks of a collection, those of deleted documents first."""
        query = unsettled.select().where(in_scope(scope, unsettled))
        order = (unsettled.c.version == "", unsettled.c.document_id)
        return [_read(row) for row in await self._db.rows(query.order_by(*order))]

    async def abandoned(self, *, deleted: bool, after: Mark | None, limit: int) -> Sequence[Mark]:
        """Returns marks of all tenants that no open task will remove, ordered by key.

        They are of deleted documents or of all others, and come after the mark `after`.
        """
        kind = unsettled.c.version != "" if deleted else unsettled.c.version == ""
        query = unsettled.select().where(~_OPEN_TASK, kind)
        key = sa.tuple_(*(unsettled.c[name] for name in _KEY))
        if after is not None:
            query = query.where(key > sa.tuple_(*(sa.literal(getattr(after, n)) for n in _KEY)))
        rows = await self._db.rows(query.order_by(*key.clauses).limit(limit))
        return [_read(row) for row in rows]


def _row(scope: Scope, document_id: str) -> dict[str, str | int]:
    return {**scope_row(scope), "document_id": document_id}


def _read(row: sa.RowMapping) -> Mark:
    return Mark(**{field.name: row[field.name] for field in fields(Mark)})
