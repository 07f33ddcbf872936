"""An index on a Qdrant server or cluster: many workers write, and tenants share a collection.

Every point names its tenant, every call filters by tenant, and a point's id is its chunk's combined
with the tenant's: two tenants may have the same chunk id. IDF is the tenant's own; with several
shards all its chunks lie in one (`qdrant_shards`). Versions are collections of their own
(`qdrant_versions`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from qdrant_client import models

from rag.errors import InputError, NotFoundError, RagError, StorageError, UpstreamError
from rag.protocols import Resting
from rag.types import Point, Scope
from rag.types.acl import Readers
from retrieval.indexes.payload import OWN_FIELDS, field_kinds
from retrieval.indexes.qdrant_collections import MAX_FIELDS, Collections
from retrieval.indexes.qdrant_known import Known
from retrieval.indexes.qdrant_points import (
    Layout,
    equal,
    has_ids,
    of,
    one_of,
    permitting,
    point_of,
    rewriting,
)
from retrieval.indexes.qdrant_reads import QdrantReader, slices
from retrieval.indexes.qdrant_server import Server
from retrieval.indexes.qdrant_tenants import PAGE, TenantPoints
from retrieval.indexes.qdrant_versions import (
    VERSION,
    Versions,
    label_of,
    own_series,
    series_of,
)
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
LARGE_TENANT = 100_000
"""Chunks from which a tenant should have a shard of its own: counting them for IDF takes a BM25
search 1 to 2 ms (docs/configuration.md)."""

_log = logging.getLogger(__name__)


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
        scope = await self.versions.located(scope, fresh=True)
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
            moved = list({p.chunk.id: p for p in points if p.dense is None}.values())
            for part in slices(moved, WRITE_SLICE):
                await self._stored.update(scope, partial(rewriting, scope, part))
        except NotFoundError:  # someone removed the collection: the next write makes it anew
            self._known.indexed.pop(scope.collection, None)
            raise

    async def delete(self, scope: Scope, chunk_ids: Sequence[str]) -> None:
        """Removes chunks; unknown ids are ignored.

        All chunks of their documents are removed from the previous version first, so that a
        repeated call completes an interrupted one.
        """
        with contextlib.suppress(NotFoundError):
            at = await self.versions.located(scope, fresh=True)
            previous = await self.previous_version(scope) if chunk_ids else None
            scope = at
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

    def still(self) -> contextlib.AbstractAsyncContextManager[Resting]:
        """Stops nothing: the files are the server's."""
        return contextlib.nullcontext(lambda _: contextlib.nullcontext())

    async def maintain(self, scope: Scope) -> None:
        """Recomputes BM25 weights that were made with another mean: see `Weights.recompute`.

        For a version that was filled, the graph is built from here on, in the background.
        """
        scope = await self.versions.located(scope, fresh=True)
        if VERSION in scope.collection:
            await self.collections.build_graph(scope.collection)
        with contextlib.suppress(NotFoundError):
            if await self.holds(scope):
                # A collection made by an older release has no lengths.
                await self.collections.prepare(scope.collection)
                await self._weights.recompute(scope)
                # If the server fails here the weights are recomputed, and a later upkeep advises.
                with contextlib.suppress(UpstreamError, StorageError):
                    await self._advise(scope)

    async def _advise(self, scope: Scope) -> None:
        """Logs, once in a process, that a tenant is large enough for a shard of its own."""
        known = self._known.lengths.get(scope)
        if known is None or known.points < LARGE_TENANT or scope in self._known.advised:
            return
        if await self._stored.is_alone(scope):
            return
        self._known.advised.add(scope)
        collection = scope.collection.partition(".")[0]
        _log.warning(
            "Each BM25 search of tenant %s in %s counts its %s chunks, because it has no shard of"
            " its own: if `index.shards` is 1, set it higher, and run `rag reindex --tenant %s"
            " --collection %s`.",
            scope.tenant,
            collection,
            f"{known.points:,}",
            scope.tenant,
            collection,
        )

    async def holds(self, scope: Scope) -> bool:
        """True if the scope has any chunk; a collection of an older release gets its ACLs then."""
        found = await super().holds(scope)
        if found:
            await self.collections.prepare((await self.versions.located(scope)).collection)
        return found

    async def close(self) -> None:
        """Closes the connections."""
        await self._server.close()

    # Versions: `begin_version`, fill and `maintain` it, `switch_version`

    async def name_of(self, scope: Scope) -> str:
        """Returns the version that the alias names now; for a version its own number: "v2"."""
        at = await self.versions.located(scope, fresh=True)
        is_version = VERSION in at.collection
        current = at.collection if is_version else await self.versions.current(at.collection)
        return "" if current is None else label_of(current)

    async def version(self, scope: Scope) -> str:
        """Returns the version that the alias names, "v2"; also "" if the server does not answer.

        A question does not fail because its trace lacks the version.
        """
        cached, scope = self._known.versions, scope.whole
        name, until = cached.get(scope, ("", 0.0))
        if time.monotonic() < until:
            return name
        until = time.monotonic() + VERSION_SECONDS  # others do not ask meanwhile
        cached[scope] = name, until
        with contextlib.suppress(RagError, TimeoutError):
            async with asyncio.timeout(VERSION_PATIENCE):
                before, name = name, await self.name_of(scope)
            if before not in ("", name):  # another process has switched
                self._known.forget((await self.versions.located(scope)).collection)
            cached[scope] = name, until
        return name

    async def begin_version(self, scope: Scope) -> Scope:
        """Creates an empty version; removes those that are neither current nor previous."""
        return replace(scope, collection=await self.collections.begin_version(scope))

    async def previous_version(self, scope: Scope) -> Scope | None:
        """Returns the version that a second alias names."""
        at = await self.versions.located(scope)
        _, previous = await self.versions.aliased(at.collection)
        return None if previous is None else replace(scope, collection=previous)

    async def switch_version(self, scope: Scope, version: Scope) -> None:
        """Moves both aliases; the version before the previous one is removed."""
        at, new = await self.versions.located(scope, fresh=True), version.collection
        searched = await self.versions.current(at.collection)
        if series_of(new) == own_series(scope).collection:
            at = own_series(scope)
        _, oldest = await self.versions.aliased(at.collection)
        await self.versions.switch(at.collection, new, before=searched)
        self._known.own[scope.whole] = at != scope
        self._known.forget(scope.collection)
        with contextlib.suppress(RagError):  # it is switched; the next version sweeps again
            await self.versions.sweep(at.collection)
            if oldest not in (None, new) and series_of(oldest) != at.collection:
                left = replace(scope, collection=oldest)
                await self._stored.remove(left, of(left))

    # Everything of a document or of a scope, in all versions

    async def set_acl(self, scope: Scope, document_id: str, acl: Readers) -> None:
        """Replaces the ACL of a document's chunks, in every version."""
        for version in await self._versions_of(scope):
            with contextlib.suppress(NotFoundError):
                theirs = of(version, equal("document_id", document_id))
                await self._stored.update(version, partial(permitting, theirs, acl))

    async def remove(self, scope: Scope) -> None:
        """Removes the tenant's chunks from every version, and the tenant's own versions.

        Other tenants may use the shared versions, so that these stay, even if they are empty.
        """
        own = own_series(scope).collection
        for version in await self._versions_of(scope):
            if series_of(version.collection) != own:
                with contextlib.suppress(NotFoundError):
                    await self._stored.remove(version, of(version))
        await self.versions.remove_aliases(own)
        await self.versions.sweep(own)
        self._known.own.pop(scope, None)
        self._known.forget(scope.collection)

    async def _versions_of(self, scope: Scope) -> list[Scope]:
        """Returns all versions that may hold chunks of the tenant: shared ones, and its own."""
        return [
            replace(scope, collection=f"{series}{VERSION}{number}")
            for series in (scope.collection, own_series(scope).collection)
            for number in await self.versions.stored(series)
        ]
