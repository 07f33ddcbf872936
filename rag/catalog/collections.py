"""The collections of the catalog."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType

import sqlalchemy as sa

from rag.catalog.acls import default_of, readable_by, seen_by
from rag.catalog.database import Database
from rag.catalog.sql import (
    in_scope,
    new_version,
    same_scope,
    scope_key,
    scope_of,
    scope_row,
    the_scope,
    utc_now,
)
from rag.catalog.tables import collections, content_versions, documents
from rag.errors import BusyError, NotFoundError
from rag.records import TERMS, CollectionRecord
from rag.text.validation_errors import shortened
from rag.types import Readers, Scope

UNKNOWN_COLLECTION = "unknown_collection"
"""Code of the error for a collection that does not exist."""
_HELD = same_scope(documents, collections)
_CHUNKS = sa.func.coalesce(sa.func.sum(documents.c.chunks), 0).label("chunks")

_IS_KEPT = collections.c.removed_at.is_(None)
_FIND = sa.select(collections.c.acl).where(the_scope(collections), _IS_KEPT)
KNOWN_SECONDS = 10.0
"""Seconds for which a collection that was found is taken to exist."""
_HAS_RECIPE = documents.c.recipe != ""  # one that is written just now has none
_TODAYS_TERMS = (f"% {TERMS}", f"% {TERMS} read:%")
_OUTDATED = sa.func.count(
    sa.case((_HAS_RECIPE & ~sa.or_(*map(documents.c.recipe.like, _TODAYS_TERMS)), 1))
).label("outdated")


class Collections:
    """Queries and changes of the collections."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._known_until: dict[Scope, float] = {}

    async def claim(self, scope: Scope, embedder: str) -> str:
        """Creates the collection if it is new; returns the fingerprint of its embedder.

        Raises:
            BusyError: A collection of this name is being removed.
        """
        row = {**scope_row(scope), "embedder": embedder, "created_at": utc_now()}
        columns = (collections.c.embedder, collections.c.removed_at)
        mine = sa.select(*columns).where(in_scope(scope, collections))
        async with self._db.write() as db:
            await db.execute(self._db.insert(collections).values(row).on_conflict_do_nothing())
            content = {**scope_row(scope), "version": new_version()}
            made = self._db.insert(content_versions).values(content)
            await db.execute(made.on_conflict_do_nothing())
            found = (await db.execute(mine)).one()
        if found.removed_at is not None:
            raise being_removed(scope.collection)
        return str(found.embedder)

    async def check_exists(self, scope: Scope) -> Scope:
        """Checks that a collection exists; returns the scope as `seen` does.

        A found one is cached for `KNOWN_SECONDS`: another process may remove it.

        Raises:
            NotFoundError: There is no such collection.
        """
        if scope.readers is None and time.monotonic() < self._known_until.get(scope, 0.0):
            return scope
        found = await self._db.rows(_FIND, scope_key(scope))
        if not found:
            raise no_collection(scope.collection)
        self._known_until[scope.whole] = time.monotonic() + KNOWN_SECONDS
        return seen_by(scope, default_of(found[0]["acl"]))

    async def seen(self, scope: Scope) -> Scope:
        """Returns the scope with all words that its readers have in the collection.

        If the collection's default ACL lets them read, they also read the documents that have none
        of their own. It is read anew each time, so that a change holds from the next question on.
        """
        if scope.readers is None:
            return scope
        found = await self._db.rows(_FIND, scope_key(scope))
        return seen_by(scope, default_of(found[0]["acl"])) if found else scope

    async def everywhere(self) -> dict[Scope, int]:
        """Returns the number of chunks of every collection, of all tenants."""
        query = (
            sa.select(collections.c.tenant, collections.c.collection, _CHUNKS)
            .select_from(collections.outerjoin(documents, _HELD))
            .where(_IS_KEPT)
            .group_by(collections.c.tenant, collections.c.collection)
        )
        return {scope_of(row): row["chunks"] for row in await self._db.rows(query)}

    async def get(self, scope: Scope) -> CollectionRecord:
        """Returns the collection.

        Raises:
            NotFoundError: There is no such collection.
        """
        for record in await self.of(scope.tenant, words=scope.readers):
            if record.name == scope.collection:
                return record
        raise no_collection(scope.collection)

    def forget(self, scope: Scope) -> None:
        """Discards what is cached of a collection that is removed; of one tenant."""
        self._known_until.pop(scope, None)

    async def of(
        self,
        tenant: str,
        *,
        readers: Mapping[str, str] = MappingProxyType({}),
        words: Readers | None = None,
    ) -> list[CollectionRecord]:
        """Returns a tenant's collections, ordered by name.

        `readers` has, by media type, the end of the recipes of documents that today's reader read.
        With `words`, only documents are counted that a caller with these words may read.
        """
        held = _HELD if words is None else sa.and_(_HELD, await self._readable(tenant, words))
        query = (
            sa.select(
                collections.c.collection.label("name"),
                collections.c.embedder,
                sa.func.count(documents.c.id).label("documents"),
                _CHUNKS,
                _OUTDATED,
                sa.func.count(sa.case((_was_read_before(readers), 1))).label("reread"),
                collections.c.created_at,
            )
            .select_from(collections.outerjoin(documents, held))
            .where(collections.c.tenant == tenant, _IS_KEPT)
            .group_by(*collections.c)
            .order_by(collections.c.collection)
        )
        return [CollectionRecord(**row) for row in await self._db.rows(query)]

    async def _readable(self, tenant: str, words: Readers) -> sa.ColumnElement[bool]:
        """Returns the condition that a document of a tenant's collections may be read."""
        mine = sa.select(collections.c.collection, collections.c.acl)
        rows = await self._db.rows(mine.where(collections.c.tenant == tenant))
        open_ = [row["collection"] for row in rows if default_of(row["acl"]) & words]
        return readable_by(words, by_default=collections.c.collection.in_(open_))


def being_removed(name: str) -> BusyError:
    """Returns the error for a collection whose removal has begun and is not finished."""
    return BusyError(
        f"The collection {shortened(name)!r} is being deleted. Send this again in a moment.",
        code="collection_removal",
        retry_after=1.0,
    )


def no_collection(name: str) -> NotFoundError:
    """Returns the error for a collection that does not exist, or that the caller may not know of.

    It names no other collection: the caller may not know of those either.
    """
    return NotFoundError(
        f"There is no collection {shortened(name)!r}. `rag status` and GET /v1/collections list"
        " those that there are; `rag ingest PATH` makes one.",
        code=UNKNOWN_COLLECTION,
    )


def _was_read_before(readers: Mapping[str, str]) -> sa.ColumnElement[bool]:
    """Checks that an older reader read a document."""
    older = (
        (documents.c.media_type == media_type)
        & ~documents.c.recipe.endswith(reader, autoescape=True)
        for media_type, reader in readers.items()
    )
    return _HAS_RECIPE & sa.or_(sa.false(), *older)
