"""Reads from collections on a Qdrant server: the half of the index that questions need."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import Protocol, TypeVar

from qdrant_client import models

from rag.errors import NotFoundError
from rag.types import Chunk, Float32Array, Leg, Match, Point, Scope
from retrieval.bm25 import bm25_idf
from retrieval.indexes.filters import check
from retrieval.indexes.payload import chunk_of
from retrieval.indexes.qdrant_collections import MAX_FIELDS
from retrieval.indexes.qdrant_known import Known
from retrieval.indexes.qdrant_models import ModelCalls
from retrieval.indexes.qdrant_points import (
    NO_CHUNK,
    equal,
    has_tokens,
    of,
    term_query,
    turned,
    vectors_of,
    weight_of,
    with_tokens,
)
from retrieval.indexes.qdrant_server import Server
from retrieval.indexes.qdrant_shards import Placement
from retrieval.indexes.qdrant_tenants import PAGE, TenantPoints
from retrieval.indexes.qdrant_versions import Versions
from retrieval.indexes.qdrant_wire import WireCalls
from retrieval.indexes.stored_points import TOKENS_PAGE, stored_point

_T = TypeVar("_T")


class Calls(Protocol):
    """The reads that questions need, each one request.

    `name` is the collection's on the server, `place` the shard with the tenant's chunks.

    Raises:
        NotFoundError: There is no such collection.
    """

    async def search(
        self, name: str, scope: Scope, legs: Sequence[Leg], place: Placement, *, rescore: bool
    ) -> list[list[Match]]:
        """Returns the matches of each leg; `rescore`: quantized ones are rescored in full."""

    async def max_sim(
        self,
        name: str,
        scope: Scope,
        question: Float32Array,
        chunk_ids: Sequence[str],
        place: Placement,
    ) -> list[Match]:
        """Scores all of these chunks by late interaction."""

    async def chunks(
        self, name: str, scope: Scope, chunk_ids: Sequence[str], place: Placement
    ) -> list[Chunk]:
        """Returns those of these chunks that exist."""

    async def vectors(
        self, name: str, scope: Scope, chunk_ids: Sequence[str], place: Placement
    ) -> dict[str, Float32Array]:
        """Returns the dense vectors of these chunks, by id."""


class QdrantReader:
    """The methods of `StoredIndex` that read points."""

    def __init__(
        self,
        server: Server,
        stored: TenantPoints,
        versions: Versions,
        known: Known,
        *,
        rescore: bool,
    ) -> None:
        """Take a server, which the caller closes, and its points.

        `rescore`: the vectors are quantized, and matches are scored again in full.
        """
        self._stored = stored
        self._versions = versions
        self._fields = known.fields
        self._rescore = rescore
        self._models = ModelCalls(server)
        over_grpc = server.client.init_options["prefer_grpc"]
        self._calls: Calls = WireCalls(server) if over_grpc else self._models

    async def chunk_ids(self, scope: Scope, document_id: str | None) -> set[str]:
        """The ids of a document's chunks, or of all."""
        scope = await self._versions.located(scope)
        where = [] if document_id is None else [equal("document_id", document_id)]
        with contextlib.suppress(NotFoundError):
            return {
                turned(scope, record.id)
                async for records in self._stored.pages(scope, of(scope, *where), payload=False)
                for record in records
            }
        return set()

    async def fetch(self, scope: Scope, chunk_ids: Sequence[str]) -> list[Chunk]:
        """The chunks with these ids, in the order asked for."""
        scope = await self._versions.located(scope)
        name, found = self._versions.name(scope.collection), dict[str, Chunk]()
        with contextlib.suppress(NotFoundError):
            for part in slices(chunk_ids, PAGE):
                chunks = await self._stored.placed(
                    scope, partial(self._calls.chunks, name, scope, part)
                )
                found.update((chunk.id, chunk) for chunk in chunks)
        return [found[i] for i in chunk_ids if i in found]

    async def vectors(self, scope: Scope, chunk_ids: Sequence[str]) -> dict[str, Float32Array]:
        """The dense vectors of these chunks, by id."""
        scope = await self._versions.located(scope)
        name, found = self._versions.name(scope.collection), dict[str, Float32Array]()
        with contextlib.suppress(NotFoundError):
            for part in slices(chunk_ids, PAGE):
                found |= await self._stored.placed(
                    scope, partial(self._calls.vectors, name, scope, part)
                )
        return found

    async def pages(self, scope: Scope) -> AsyncIterator[list[Chunk]]:
        """All chunks of the scope, in the order of their ids."""
        scope = await self._versions.located(scope)
        payload_fields = models.PayloadSelectorExclude(exclude=list(NO_CHUNK))
        with contextlib.suppress(NotFoundError):
            async for records in self._stored.pages(scope, of(scope), payload=payload_fields):
                yield [chunk_of(turned(scope, r.id), r.payload or {}) for r in records]

    async def points(self, scope: Scope) -> AsyncIterator[list[Point]]:
        """All points of the scope with their vectors; none if there is no such collection."""
        scope = await self._versions.located(scope)
        with contextlib.suppress(NotFoundError):
            page = TOKENS_PAGE if await self._stored.count(scope, with_tokens(scope)) else PAGE
            async for records in self._stored.pages(
                scope, of(scope), payload=True, vectors=True, page=page
            ):
                yield [
                    stored_point(turned(scope, r.id), r.payload or {}, vectors_of(r))
                    for r in records
                ]

    async def holds(self, scope: Scope) -> bool:
        """True if the scope has any chunk."""
        scope = await self._versions.located(scope)
        with contextlib.suppress(NotFoundError):
            async for _ in self._stored.pages(scope, of(scope), payload=False, page=1):
                return True
        return False

    async def search(self, scope: Scope, legs: Sequence[Leg]) -> list[list[Match]]:
        """All legs in one request; best first, ties by chunk id.

        Raises:
            InputError: A filter is on a field that none of the tenant's chunks has. Known fields
                are cached: only a new one costs a request of its own.
        """
        scope = await self._versions.located(scope)
        try:
            if not legs or not await self._checked(scope, legs):
                return [[] for _ in legs]
            name = self._versions.name(scope.collection)
            operation = partial(self._calls.search, name, scope, legs, rescore=self._rescore)
            ranked = await self._stored.placed(scope, operation)
        except NotFoundError:
            return [[] for _ in legs]
        return [
            sorted(matches, key=lambda match: (-match.score, match.chunk_id))[: leg.limit]
            for leg, matches in zip(legs, ranked, strict=True)
        ]

    async def max_sim(
        self, scope: Scope, question: Float32Array, chunk_ids: Sequence[str]
    ) -> dict[str, float]:
        """Late interaction with the stored token vectors of these chunks, by id."""
        scope = await self._versions.located(scope)
        with contextlib.suppress(NotFoundError):
            # A collection without token vectors refuses this request, and so does any for no token.
            is_needed = len(chunk_ids) > 0 and len(question) > 0
            if is_needed and await self._stored.count(scope, has_tokens(scope, chunk_ids)):
                name = self._versions.name(scope.collection)
                operation = partial(self._calls.max_sim, name, scope, question, chunk_ids)
                return dict(await self._stored.placed(scope, operation))
        return {}

    async def idf(self, scope: Scope, terms: Sequence[int]) -> list[float]:
        """Returns each term's weight on the server: its best match's score by its stored weight."""
        scope = await self._versions.located(scope)
        requests = [term_query(scope, term) for term in terms]
        try:
            count = await self._stored.count(scope)
            ranked = await self._query(scope, requests) if count else [[] for _ in terms]
        except NotFoundError:
            return [0.0] * len(terms)
        unseen = bm25_idf(count, 0) if count else 0.0
        return [
            points[0].score / weight_of(points[0], term) if points else unseen
            for term, points in zip(terms, ranked, strict=True)
        ]

    # Fields

    async def _checked(self, scope: Scope, legs: Sequence[Leg]) -> bool:
        """Refuses filters that cannot hold; False if there is nothing to filter."""
        fields = {condition.field for leg in legs for condition in leg.where}
        known = self._fields.get(scope, set())  # those of readers are not kept: they may change
        if not fields <= known:
            known = await self.known_fields(scope)
            if not known:
                return False
        for leg in legs:
            check(leg.where, known)
        return True

    async def known_fields(self, scope: Scope) -> set[str]:
        """Returns the fields of the scope's chunks; empty if it has no chunk."""
        # Concurrent writers may exceed the bound a little.
        found = {str(v) for v in await self._stored.facet(scope, "fields", 2 * MAX_FIELDS)}
        if scope.readers is None:
            self._fields[scope] = found
        return found

    async def _query(
        self, scope: Scope, requests: Sequence[models.QueryRequest]
    ) -> list[list[models.ScoredPoint]]:
        if not requests:
            return []
        name = self._versions.name(scope.collection)
        return await self._stored.placed(scope, partial(self._models.query, name, scope, requests))


def slices(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """Yields the items in runs of `size`, the last one shorter."""
    return (items[i : i + size] for i in range(0, len(items), size))
