"""The versions of collections' contents: an answer made of one version may be given again.

A version is a random name. Every transaction that ends a change of what questions find replaces it
(`replace_version` in `rag.catalog.sql`). The index is changed before: between a document's mark
(`rag.catalog.unsettled`) and the transaction that removes the mark. So an answer is of one version
if the collection had this version and no mark when the question began, and has both still when the
answer is made.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from rag.catalog.acls import default_of, seen_by
from rag.catalog.collections import no_collection
from rag.catalog.database import Database
from rag.catalog.sql import in_scope, scope_key, the_scope
from rag.catalog.tables import collections, content_versions, document_readers, unsettled
from rag.types import DEFAULT, Readers, Scope

_VERSION = sa.select(content_versions.c.version).where(the_scope(content_versions))
_MARKED = sa.exists().where(the_scope(unsettled))
_FIND = sa.select(
    collections.c.acl,
    _VERSION.scalar_subquery().label("version"),
    _MARKED.label("marked"),
).where(the_scope(collections), collections.c.removed_at.is_(None))
_KNOWN = 4096
"""Readers whose words are remembered."""


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a collection as a caller sees it.

    `scope` has all words of its readers. `settled` is False while a document is being changed, and
    of a collection without a version, whose changes nobody notes: a process of before made it.
    """

    scope: Scope
    version: str
    settled: bool


class ContentVersions:
    """Reads the versions. Other parts replace them in their transactions."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._words: dict[tuple[Scope, str], Readers] = {}

    async def of(self, scope: Scope) -> Content:
        """Returns the content of a collection, read anew.

        Raises:
            NotFoundError: There is no such collection.
        """
        found = await self._db.rows(_FIND, scope_key(scope))
        if not found:
            raise no_collection(scope.collection)
        row = found[0]
        seen = seen_by(scope, default_of(row["acl"]))
        settled = row["version"] is not None and not row["marked"]
        return Content(scope=seen, version=row["version"] or "", settled=settled)

    async def words(self, content: Content) -> Readers | None:
        """Returns those words of the readers that a document of the collection names.

        Callers who have the same ones read the same documents. None: all documents are read.
        """
        scope = content.scope
        if scope.readers is None:
            return None
        key = (scope, content.version)
        if key not in self._words:
            named = sa.select(document_readers.c.reader).distinct()
            theirs = document_readers.c.reader.in_(sorted(scope.readers))
            rows = await self._db.rows(named.where(in_scope(scope, document_readers), theirs))
            if len(self._words) >= _KNOWN:
                self._words.clear()
            self._words[key] = frozenset(row["reader"] for row in rows) | (
                scope.readers & {DEFAULT}
            )
        return self._words[key]
