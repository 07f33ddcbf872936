"""The documents of the catalog and their texts.

A document is listed as soon as it is accepted.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from rag.catalog.acls import readable
from rag.catalog.database import Database
from rag.catalog.document_json import document_of
from rag.catalog.forgetting import forget_text
from rag.catalog.sql import (
    IS_OPEN,
    OPEN,
    acl_text,
    document_key,
    document_record,
    in_scope,
    of_document,
    replace_version,
    scope_key,
    spool_keys,
    the_document,
    the_scope,
)
from rag.catalog.tables import document_readers, documents, tasks, texts
from rag.catalog.unsettled import Unsettled
from rag.errors import InputError, NotFoundError
from rag.records import DocumentRecord
from rag.types import Document, Readers, Scope

_LAST_CHARACTER = "\U0010ffff"
MAX_LISTED_URIS = 5
_FIND = documents.select().where(the_document(documents))
_FIND_CONTENT = (
    documents.select()
    .where(
        the_scope(documents),
        documents.c.acl.is_not_distinct_from(sa.bindparam("acl", type_=sa.String)),
        documents.c.version == sa.bindparam("content"),
        documents.c.duplicate_of.is_(None),
        documents.c.chunks > 0,
    )
    .order_by(documents.c.created_at)
    .limit(1)
)
_WAITING = sa.select(tasks.c.source).where(tasks.c.state.in_(OPEN))
_FAILED = sa.select(documents.c.source).where(documents.c.state == "failed")

IDS_AT_ONCE = 1000
"""Ids in one statement: SQLite takes 32,766 values."""


class Documents:
    """Queries and changes of the documents and their texts."""

    def __init__(self, database: Database, unsettled: Unsettled) -> None:
        self._db = database
        self._unsettled = unsettled

    async def page(
        self,
        scope: Scope,
        *,
        limit: int,
        after: str = "",
        state: str | None = None,
        uri_prefix: str = "",
    ) -> list[DocumentRecord]:
        """Returns the documents with ids greater than `after`, ordered by id.

        Here and below, a document that the scope's readers may not read is as one that there is
        none of.
        """
        query = documents.select()
        columns: list[sa.ColumnElement[str]] = [
            documents.c.tenant,
            documents.c.collection,
            documents.c.id,
        ]
        if uri_prefix:
            first, last = sa.literal(uri_prefix), sa.literal(uri_prefix + _LAST_CHARACTER)
            query = query.where(documents.c.uri >= first, documents.c.uri < last)
            # No index covers these expressions, so the planner has to take the one on uris.
            columns = [column.concat("") for column in columns]
        if state is not None:
            query = query.where(documents.c.state == state)
        if state == "failed":
            # The literal condition of a partial index, which has the ids in order; an expression
            # keeps the planner from the primary key, by which it would read all documents.
            query = query.where(documents.c.state == sa.text("'failed'"))
            columns = [column.concat("") for column in columns[:2]] + columns[2:]
        tenant, collection, place = columns
        query = query.where(tenant == scope.tenant, collection == scope.collection, place > after)
        query = query.where(readable(scope))
        rows = await self._db.rows(query.order_by(place).limit(limit))
        return [document_record(row) for row in rows]

    async def get(self, scope: Scope, document_id: str) -> DocumentRecord:
        """Returns the document.

        Raises:
            NotFoundError: There is no such document.
        """
        query = _FIND if scope.readers is None else _FIND.where(readable(scope))
        rows = await self._db.rows(query, document_key(scope, document_id))
        if not rows:
            raise _no_document(scope, document_id)
        return document_record(rows[0])

    async def known(self, scope: Scope, document_ids: Sequence[str]) -> set[str]:
        """Returns those of these ids that belong to a document."""
        query = sa.select(documents.c.id).where(in_scope(scope, documents))
        rows = await self._db.rows(query.where(documents.c.id.in_(document_ids), readable(scope)))
        return {row["id"] for row in rows}

    async def text(self, scope: Scope, document_id: str) -> str:
        """Returns the text that citations quote from; empty if the document was never read."""
        query = sa.select(texts.c.text).where(of_document(scope, document_id, texts))
        if scope.readers is not None:
            query = query.join(documents, _is_text(scope)).where(
                in_scope(scope, documents), readable(scope)
            )
        rows = await self._db.rows(query)
        return str(rows[0]["text"]) if rows else ""

    async def content(self, scope: Scope, document_id: str) -> bytes:
        """Returns the text of a document in UTF-8; it may be long, so it is not decoded first.

        Raises:
            NotFoundError: There is no such document, or it was never read.
        """
        query = sa.select(self._db.utf8(texts.c.text).label("text"), documents.c.state)
        query = query.select_from(documents.outerjoin(texts, _is_text(scope)))
        its = of_document(scope, document_id, documents)
        rows = await self._db.rows(query.where(its, readable(scope)))
        if not rows:
            raise _no_document(scope, document_id)
        if rows[0]["text"] is None:
            raise NotFoundError(
                f"The document {document_id!r} has no text: it was not read yet, and is"
                f" {rows[0]['state']}.",
                code="no_content",
            )
        return bytes(rows[0]["text"])

    async def stored(self, scope: Scope, document_id: str) -> Document:
        """Returns the document as it was read when it was ingested.

        Raises:
            NotFoundError: There is no such document.
            InputError: An older version ingested it, and did not store its structure.
        """
        query = sa.select(documents, texts.c.text, texts.c.structure).join(texts, _is_text(scope))
        its = of_document(scope, document_id, documents)
        rows = await self._db.rows(query.where(its, readable(scope)))
        if not rows:
            raise _no_document(scope, document_id)
        if rows[0]["structure"] is None:
            raise _incomplete([rows[0]["uri"]])
        return document_of(dict(rows[0]), text=rows[0]["text"], structure=rows[0]["structure"])

    async def check_complete(self, scope: Scope) -> None:
        """Raises InputError if only the text of a document is stored, without its structure."""
        query = sa.select(documents.c.uri).join(texts, _is_text(scope))
        only_text = query.where(
            in_scope(scope, documents), documents.c.version != "", texts.c.structure.is_(None)
        ).order_by(documents.c.uri)
        if rows := await self._db.rows(only_text):
            raise _incomplete([row["uri"] for row in rows])

    async def same_content(
        self, scope: Scope, version: str, acl: Readers | None
    ) -> DocumentRecord | None:
        """Returns the document that is indexed for these bytes and this ACL; None for none.

        Documents with other readers share no chunks: a hit names the document that holds it.
        """
        wanted = {"content": version, "acl": acl_text(acl)}
        rows = await self._db.rows(_FIND_CONTENT, scope_key(scope) | wanted)
        return document_record(rows[0]) if rows else None

    async def duplicates(self, scope: Scope, document_id: str) -> list[DocumentRecord]:
        """Returns the documents that are recorded as duplicates of this one, oldest first."""
        query = documents.select().where(in_scope(scope, documents))
        query = query.where(documents.c.duplicate_of == document_id)
        rows = await self._db.rows(query.order_by(documents.c.created_at))
        return [document_record(row) for row in rows]

    async def attached(self, scope: Scope, document_id: str) -> list[str]:
        """Returns the ids of the documents that are attached to a document, in their order."""
        query = sa.select(documents.c.id).where(in_scope(scope, documents))
        rows = await self._db.rows(
            query.where(documents.c.parent == document_id).order_by(documents.c.id)
        )
        return [row["id"] for row in rows]

    async def lose(self, scope: Scope, error: str, *, document_id: str | None = None) -> None:
        """Marks one document, or all, as no longer stored, so that they can be ingested again."""
        lost = {"state": "failed", "error": error, "version": "", "recipe": "", "chunks": 0}
        which = in_scope(scope, documents)
        if document_id is not None:
            which = of_document(scope, document_id, documents)
        async with self._db.write() as db:
            await db.execute(documents.update().where(which).values(lost | {"duplicate_of": None}))
            await db.run_sync(replace_version, scope)

    async def inherit(
        self, scope: Scope, heirs: Sequence[DocumentRecord], *, chunks: int, recipe: str
    ) -> bool:
        """Makes the first heir the indexed document of the bytes that it shares with the others.

        Returns:
            False if that heir was deleted meanwhile: nothing is changed, and the mark of its
            deletion stays.
        """
        first = of_document(scope, heirs[0].id, documents)
        others = in_scope(scope, documents) & documents.c.id.in_([heir.id for heir in heirs[1:]])
        async with self._db.write() as db:
            own = {"duplicate_of": None, "chunks": chunks, "recipe": recipe}
            if not (await db.execute(documents.update().where(first).values(own))).rowcount:
                return False
            await db.execute(documents.update().where(others).values(duplicate_of=heirs[0].id))
            await db.run_sync(self._unsettled.unmark, scope, heirs[0].id)
            await db.run_sync(replace_version, scope)
        return True

    async def delete(self, scope: Scope, document_id: str) -> set[str]:
        """Deletes a document and its text, cancels its tasks; returns spool keys to remove.

        Its chunks are still in the index, so the document is marked as unsettled.
        """
        its_tasks = of_document(scope, document_id, tasks)
        cancel = tasks.update().where(its_tasks, IS_OPEN).values(state="cancelled", draft=None)
        cancelled = sa.select(tasks.c.source).where(its_tasks, tasks.c.state == "cancelled")
        async with self._db.write() as db:
            await db.execute(cancel)
            await forget_text(db, scope, document_id)
            found = (await db.execute(_FIND, document_key(scope, document_id))).mappings().all()
            for table in (documents, document_readers, texts):
                await db.execute(table.delete().where(of_document(scope, document_id, table)))
            await db.execute(cancel)  # again: a new task may have come before the deletion
            for row in found:
                held = {name: row[name] for name in ("version", "recipe", "chunks")}
                await self._unsettled.mark_deleted(db, scope, document_id, **held)
            unwanted = spool_keys([*found, *(await db.execute(cancelled)).mappings()])
            await db.run_sync(replace_version, scope)
        return unwanted

    async def spooled(self, scope: Scope, document_ids: Sequence[str]) -> set[str]:
        """Returns the spool keys of the bytes that these documents still need.

        Open tasks need them, and failed documents, which may be retried.
        """
        keys: set[str] = set()
        for i in range(0, len(document_ids), IDS_AT_ONCE):
            ids = document_ids[i : i + IDS_AT_ONCE]
            waiting = _WAITING.where(in_scope(scope, tasks), tasks.c.document_id.in_(ids))
            failed = _FAILED.where(in_scope(scope, documents), documents.c.id.in_(ids))
            keys |= spool_keys(await self._db.rows(sa.union_all(waiting, failed)))
        return keys

    async def unnamed(self, originals: Sequence[str]) -> set[str]:
        """Returns those of these keys of originals that no document of any tenant names."""
        named: set[str] = set()
        for i in range(0, len(originals), IDS_AT_ONCE):
            query = sa.select(documents.c.original).where(
                documents.c.original.in_(originals[i : i + IDS_AT_ONCE])
            )
            named |= {row["original"] for row in await self._db.rows(query)}
        return set(originals) - named

    async def all_spooled(self) -> set[str]:
        """Returns the spool keys of the bytes that documents of any tenant still need."""
        return spool_keys(await self._db.rows(sa.union_all(_WAITING, _FAILED)))


def _is_text(scope: Scope) -> sa.ColumnElement[bool]:
    """Returns the condition that a row of `texts` is the text of a document of the scope."""
    return sa.and_(in_scope(scope, texts), texts.c.document_id == documents.c.id)


def _no_document(scope: Scope, document_id: str) -> NotFoundError:
    return NotFoundError(
        f"There is no document {document_id!r} in collection {scope.collection!r}.",
        code="unknown_document",
    )


def _incomplete(uris: Sequence[str]) -> InputError:
    named = ", ".join(uris[:MAX_LISTED_URIS]) + (", …" if len(uris) > MAX_LISTED_URIS else "")
    return InputError(
        f"Of {len(uris)} documents, ingested by an older version, no headings, tables and pages are"
        f" kept: {named}. Ingest them once more; those that did not change are not embedded.",
        code="incomplete_documents",
    )
