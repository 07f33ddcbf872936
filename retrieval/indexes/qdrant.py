"""An index on a Qdrant server or cluster: many workers write, and tenants share a collection.

Every point names its tenant, every call filters by tenant, and a point's id is its chunk's combined
with the tenant's: two tenants may have the same chunk id. IDF is the tenant's own; with several
shards all its chunks lie in one (`qdrant_shards`). Versions are collections of their own
(`qdrant_versions`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from qdrant_client import models

from rag.errors import InputError, NotFoundError, RagError
from rag.types import Point, Scope
from retrieval.indexes.payload import OWN_FIELDS, field_kinds
from retrieval.indexes.qdrant_collections import MAX_FIELDS, Collections
from retrieval.indexes.qdrant_known import Known
from retrieval.indexes.qdrant_points import Layout, has_ids, of, one_of, point_of, rewriting
from retrieval.indexes.qdrant_reads import QdrantReader, slices
from retrieval.indexes.qdrant_server import Server
from retrieval.indexes.qdrant_tenants import PAGE, TenantPoints
from retrieval.indexes.qdrant_versions import VERSION, Versions
from retrieval.indexes.qdrant_weights import Weights

WRITE_SLICE = 256
"""Points in one request: under 2 MB with 384 dimensions and their texts."""
TOKENS_SLICE = 16
"""Points with token vectors in one request: 3 MB."""
VERSION_SECONDS = 10.0
"""Seconds for which the searched version is cached: other processes may switch."""
VERSION_PATIENCE = 0.2
"""Seconds that a question waits for the version, which only its trace needs."""
MAX_LISTED = 5
"""Fields that a message names, at most."""


class QdrantIndex(QdrantReader):
    """`StoredIndex` on a Qdrant server. Any number of processes may work on its collections."""

    def __init__(
        self,
        server: Server,
        *,
        dim: int,
        prefix: str = "",
        layout: Layout | None = None,
    ) -> None:
        """Make an index that closes the server.

        Args:
            server: holds the collections.
            dim: length of the dense vectors.
            prefix: comes before the names of its collections on the server.
            layout: of new collections.
        """
        layout, self._known = layout or Layout(), Known()
        self.versions = Versions(server, self._known, prefix=prefix)
        self.collections = Collections(server, self.versions, self._known, dim=dim, layout=layout)
        stored = TenantPoints(server, self.versions, self._known)
        self._weights = Weights(stored, self._known)
        self._server = server
        rescore = layout.quantization != "none"
        super().__init__(server, stored, self.versions, self._known, rescore=rescore)

    async def upsert(self, scope: Scope, points: Sequence[Point]) -> None:
        """Writes points; those without vectors keep the ones they have.

        Raises:
            InputError: The tenant would have more than `MAX_FIELDS` meta fields.
            ConfigError: The collection was made with vectors of another length.
        """
        try:
            await self.collections.prepare(scope.collection)
            await self._admit(scope, points)
            vectors = list({p.chunk.id: p for p in points if p.dense is not None}.values())
            by_token = any(p.tokens is not None for p in vectors)
            if by_token:
                await self.collections.admit_tokens(scope.collection)
            mean = await self._weights.mean_with(scope, vectors)
            for part in slices(vectors, TOKENS_SLICE if by_token else WRITE_SLICE):
                await self._stored.upsert(scope, [point_of(scope, point, mean) for point in part])
            moved = list({p.chunk.id: p.chunk for p in points if p.dense is None}.values())
            for chunks in slices(moved, WRITE_SLICE):
                await self._stored.update(scope, partial(rewriting, scope, chunks))
        except NotFoundError:  # someone removed the collection: the next write makes it anew
            self._known.indexed.pop(scope.collection, None)
            raise

    async def delete(self, scope: Scope, chunk_ids: Sequence[str]) -> None:
        """Removes chunks; unknown ids are ignored.

        All chunks of their documents are removed from the previous version first, so that a
        repeated call completes an interrupted one.
        """
        with contextlib.suppress(NotFoundError):
            previous = await self.previous_version(scope) if chunk_ids else None
            for part in slices(chunk_ids, PAGE):
                where = of(scope, has_ids(scope, part))
                if previous is not None:
                    await self._delete_before(previous, scope, where)
                await self._stored.remove(scope, where)

    async def _delete_before(self, previous: Scope, scope: Scope, where: models.Filter) -> None:
        """Removes the documents of these points from the previous version."""
        documents: set[str] = set()
        async for records in self._stored.pages(scope, where, payload=["document_id"]):
            documents.update((record.payload or {})["document_id"] for record in records)
        if not documents:
            return
        with contextlib.suppress(NotFoundError):
            theirs = of(previous, one_of("document_id", sorted(documents)))
            await self._stored.remove(previous, theirs)

    async def _admit(self, scope: Scope, points: Sequence[Point]) -> None:
        """Records the points' meta fields and has them indexed."""
        kinds = field_kinds(point.chunk.meta for point in points)
        fields = {field for field, _ in kinds} - OWN_FIELDS.keys()
        if not fields <= self._fields.get(scope, set()):
            known = await self.known_fields(scope) - OWN_FIELDS.keys()
            if len(known | fields) > MAX_FIELDS:
                raise InputError(
                    f"The collection has {len(known)} meta fields and cannot take"
                    f" {', '.join(sorted(fields - known)[:MAX_LISTED])} besides ({MAX_FIELDS} at"
                    " most): put rarely used values into one field.",
                    code="too_many_fields",
                )
        await self.collections.admit_fields(scope.collection, kinds)

    def erasing(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Does nothing: the server's optimizer removes deleted points in its own time."""
        return contextlib.nullcontext()

    async def maintain(self, scope: Scope) -> None:
        """Recomputes BM25 weights that were made with another mean: see `Weights.recompute`.

        For a version that was filled, the graph is built from here on, in the background.
        """
        if VERSION in scope.collection:
            await self.collections.build_graph(scope.collection)
        with contextlib.suppress(NotFoundError):
            if await self.holds(scope):
                # A collection made by an older release has no lengths.
                await self.collections.prepare(scope.collection)
                await self._weights.recompute(scope)

    async def close(self) -> None:
        """Closes the connections."""
        await self._server.close()

    # Versions: `begin_version`, fill and `maintain` it, `switch_version`

    async def name_of(self, scope: Scope) -> str:
        """Returns the version that the alias names now; for a version its own number: "v2"."""
        name, _, number = scope.collection.partition(VERSION)
        version = int(number) if number else await self.versions.current(name)
        return "" if version is None else f"v{version}"

    async def version(self, scope: Scope) -> str:
        """Returns the version that the alias names, "v2"; also "" if the server does not answer.

        A question does not fail because its trace lacks the version.
        """
        cached, collection = self._known.versions, scope.collection
        name, until = cached.get(collection, ("", 0.0))
        if time.monotonic() < until:
            return name
        until = time.monotonic() + VERSION_SECONDS  # others do not ask meanwhile
        cached[collection] = name, until
        with contextlib.suppress(RagError, TimeoutError):
            async with asyncio.timeout(VERSION_PATIENCE):
                current = await self.versions.current(collection)
            before, name = name, "" if current is None else f"v{current}"
            if before not in ("", name):  # another process has switched
                self._known.forget(collection)
            cached[collection] = name, until
        return name

    async def begin_version(self, scope: Scope) -> Scope:
        """Creates an empty version; removes those that are neither current nor previous.

        Raises:
            InputError: The collection holds other tenants' chunks: a version covers all tenants.
        """
        version = await self.collections.begin_version(scope)
        return replace(scope, collection=f"{scope.collection}{VERSION}{version}")

    async def previous_version(self, scope: Scope) -> Scope | None:
        """Returns the version that a second alias names."""
        _, previous = await self.versions.aliased(scope.collection)
        if previous is None:
            return None
        return replace(scope, collection=f"{scope.collection}{VERSION}{previous}")

    async def switch_version(self, scope: Scope, version: Scope) -> None:
        """Moves both aliases; the version before the previous one is removed."""
        _, _, number = version.collection.partition(VERSION)
        await self.versions.switch(scope.collection, int(number))
        with contextlib.suppress(RagError):  # it is switched; the next version sweeps again
            await self.versions.sweep(scope.collection)
