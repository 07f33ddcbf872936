"""ACLs of documents, and the default ACLs of collections."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import sqlalchemy as sa

from rag.catalog.database import Database
from rag.catalog.sql import (
    acl_of,
    acl_text,
    in_scope,
    of_document,
    replace_version,
    same_document,
    scope_row,
)
from rag.catalog.tables import collections, document_readers, documents
from rag.types import DEFAULT, PUBLIC, Readers, Scope

_PUBLIC: Readers = frozenset({PUBLIC})
"""The default of a collection for which none was set."""


class Acls:
    """Queries and changes of ACLs."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def set(self, scope: Scope, document_id: str, acl: Readers | None) -> None:
        """Replaces the ACL of a document; with None, it follows the collection's default."""

        def store(db: sa.Connection) -> None:
            write_acl(db, scope, {document_id: acl})
            replace_version(db, scope)

        await self._db.change(store)

    async def default(self, scope: Scope) -> Readers:
        """Returns the ACL of the collection's documents that have none of their own."""
        query = sa.select(collections.c.acl).where(in_scope(scope, collections))
        rows = await self._db.rows(query)
        return default_of(rows[0]["acl"]) if rows else _PUBLIC

    async def set_default(self, scope: Scope, acl: Readers) -> None:
        """Replaces the default ACL of a collection."""
        async with self._db.write() as db:
            mine = collections.update().where(in_scope(scope, collections))
            await db.execute(mine.values(acl=acl_text(acl)))
            await db.run_sync(replace_version, scope)


def write_acl(db: sa.Connection, scope: Scope, acls: Mapping[str, Readers | None]) -> None:
    """Writes the ACLs of documents, by their ids, as part of a transaction."""
    for document_id, acl in acls.items():
        its = documents.update().where(of_document(scope, document_id, documents))
        db.execute(its.values(acl=acl_text(acl)))
    write_readers(db, scope, acls)


def write_readers(db: sa.Connection, scope: Scope, acls: Mapping[str, Readers | None]) -> None:
    """Replaces the rows of documents' readers, as part of a transaction."""
    theirs = in_scope(scope, document_readers) & document_readers.c.document_id.in_(list(acls))
    db.execute(document_readers.delete().where(theirs))
    rows = [
        scope_row(scope) | {"document_id": document_id, "reader": word}
        for document_id, acl in acls.items()
        for word in acl or ()
    ]
    if rows:
        db.execute(document_readers.insert(), rows)


def default_of(text: str | None) -> Readers:
    """Returns the default ACL that the column of a collection has."""
    acl = acl_of(text)
    return _PUBLIC if acl is None else acl


def seen_by(scope: Scope, default: Readers) -> Scope:
    """Returns the scope with `DEFAULT` if its readers may read by the collection's default ACL."""
    if scope.readers is None or scope.readers.isdisjoint(default):
        return scope
    return replace(scope, readers=scope.readers | {DEFAULT})


def readable(scope: Scope) -> sa.ColumnElement[bool]:
    """Returns the condition that the scope's readers may read a row of `documents`."""
    if scope.readers is None:
        return sa.true()
    return readable_by(scope.readers, by_default=sa.literal(DEFAULT in scope.readers))


def readable_by(
    readers: Collection[str], *, by_default: sa.ColumnElement[bool]
) -> sa.ColumnElement[bool]:
    """Returns the condition that a row of `documents` is one that these readers may read.

    `by_default` is the condition for documents without an ACL of their own.
    """
    has_word = sa.exists().where(
        same_document(document_readers, documents), document_readers.c.reader.in_(sorted(readers))
    )
    return sa.or_(sa.and_(documents.c.acl.is_(None), by_default), has_word)
