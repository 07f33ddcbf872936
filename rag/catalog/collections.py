"""The collections of the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import sqlalchemy as sa

from rag.catalog.database import Database
from rag.catalog.sql import in_scope, same_scope, scope_row, utc_now
from rag.catalog.tables import collections, documents
from rag.errors import NotFoundError
from rag.records import TERMS, CollectionRecord
from rag.text.validation_errors import shortened
from rag.types import Scope

_HELD = same_scope(documents, collections)
_CHUNKS = sa.func.coalesce(sa.func.sum(documents.c.chunks), 0).label("chunks")

_HAS_RECIPE = documents.c.recipe != ""  # one that is written just now has none
_TODAYS_TERMS = (f"% {TERMS}", f"% {TERMS} read:%")
_OUTDATED = sa.func.count(
    sa.case((_HAS_RECIPE & ~sa.or_(*map(documents.c.recipe.like, _TODAYS_TERMS)), 1))
).label("outdated")


class Collections:
    """Queries and changes of the collections."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._exists: set[Scope] = set()

    async def claim(self, scope: Scope, embedder: str) -> str:
        """Creates the collection if it is new; returns the fingerprint of its embedder."""
        row = {**scope_row(scope), "embedder": embedder, "created_at": utc_now()}
        mine = sa.select(collections.c.embedder).where(in_scope(scope, collections))
        async with self._db.write() as db:
            await db.execute(self._db.insert(collections).values(row).on_conflict_do_nothing())
            return str(await db.scalar(mine))

    async def check_exists(self, scope: Scope) -> None:
        """Checks that a collection exists. A found one is cached: collections are not removed.

        Raises:
            NotFoundError: There is no such collection.
        """
        if scope not in self._exists:
            await self.get(scope)
            self._exists.add(scope)

    async def everywhere(self) -> dict[Scope, int]:
        """Returns the number of chunks of every collection, of all tenants."""
        query = (
            sa.select(collections.c.tenant, collections.c.collection, _CHUNKS)
            .select_from(collections.outerjoin(documents, _HELD))
            .group_by(collections.c.tenant, collections.c.collection)
        )
        return {
            Scope(tenant=row["tenant"], collection=row["collection"]): row["chunks"]
            for row in await self._db.rows(query)
        }

    async def get(self, scope: Scope) -> CollectionRecord:
        """Returns the collection.

        Raises:
            NotFoundError: There is no such collection.
        """
        for record in await self.of(scope.tenant):
            if record.name == scope.collection:
                return record
        raise no_collection(scope.collection)

    async def of(
        self, tenant: str, *, readers: Mapping[str, str] = MappingProxyType({})
    ) -> list[CollectionRecord]:
        """Returns a tenant's collections, ordered by name.

        `readers` has, by media type, the end of the recipes of documents that today's reader read.
        """
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
            .select_from(collections.outerjoin(documents, _HELD))
            .where(collections.c.tenant == tenant)
            .group_by(*collections.c)
            .order_by(collections.c.collection)
        )
        return [CollectionRecord(**row) for row in await self._db.rows(query)]


def no_collection(name: str) -> NotFoundError:
    """Returns the error for a collection that does not exist, or that the caller may not know of.

    It names no other collection: the caller may not know of those either.
    """
    return NotFoundError(
        f"There is no collection {shortened(name)!r}. `rag status` and GET /v1/collections list"
        " those that there are; `rag ingest PATH` makes one.",
        code="unknown_collection",
    )


def _was_read_before(readers: Mapping[str, str]) -> sa.ColumnElement[bool]:
    """Checks that an older reader read a document."""
    older = (
        (documents.c.media_type == media_type)
        & ~documents.c.recipe.endswith(reader, autoescape=True)
        for media_type, reader in readers.items()
    )
    return _HAS_RECIPE & sa.or_(sa.false(), *older)
