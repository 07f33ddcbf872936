"""Reads from collections on a Qdrant server: the half of the index that questions need."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

from qdrant_client import models

from rag.errors import ConfigError, NotFoundError, StorageError
from rag.types import Chunk, Float32Array, Leg, Match, Scope
from retrieval.bm25 import bm25_idf
from retrieval.indexes.filters import check
from retrieval.indexes.payload import chunk_of
from retrieval.indexes.qdrant_models import ModelCalls
from retrieval.indexes.qdrant_points import (
    NO_CHUNK,
    equal,
    has_tokens,
    of,
    term_query,
    turned,
    weight_of,
)
from retrieval.indexes.qdrant_server import MOVED, Server
from retrieval.indexes.qdrant_shards import Placement, is_active, placement_of, tenant_key
from retrieval.indexes.qdrant_wire import WireCalls

PAGE = 1_000
"""Points read in one request."""
MAX_FIELDS = 256
"""Meta fields of one tenant, and payload indexes of a collection, at most; a filter on a field
beyond them still holds, without an index of its own."""
VERSION, PREVIOUS = ".v", ".previous"
"""Suffixes of a collection's name: in the name of a version, and of the alias of the previous one.
A scope with such a name is that version."""

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

    def __init__(self, server: Server, *, prefix: str, rescore: bool) -> None:
        """Take a server, which the caller closes.

        Args:
            server: holds the collections.
            prefix: comes before their names there.
            rescore: True: the vectors are quantized, and matches are scored again in full.
        """
        self._server = server
        self._client = server.client
        self._prefix = prefix
        self._rescore = rescore
        self._models = ModelCalls(server)
        over_grpc = self._client.init_options["prefer_grpc"]
        self._calls: Calls = WireCalls(server) if over_grpc else self._models
        self._fields: dict[Scope, set[str]] = {}
        self._placements: dict[Scope, Placement] = {}

    async def chunk_ids(self, scope: Scope, document_id: str | None) -> set[str]:
        """The ids of a document's chunks, or of all."""
        where = [] if document_id is None else [equal("document_id", document_id)]
        with contextlib.suppress(NotFoundError):
            return {
                turned(scope, record.id)
                async for records in self._pages(scope, of(scope, *where), payload=False)
                for record in records
            }
        return set()

    async def fetch(self, scope: Scope, chunk_ids: Sequence[str]) -> list[Chunk]:
        """The chunks with these ids, in the order asked for."""
        name, found = self._name(scope.collection), dict[str, Chunk]()
        with contextlib.suppress(NotFoundError):
            for part in slices(chunk_ids, PAGE):
                chunks = await self._placed(scope, partial(self._calls.chunks, name, scope, part))
                found.update((chunk.id, chunk) for chunk in chunks)
        return [found[i] for i in chunk_ids if i in found]

    async def vectors(self, scope: Scope, chunk_ids: Sequence[str]) -> dict[str, Float32Array]:
        """The dense vectors of these chunks, by id."""
        name, found = self._name(scope.collection), dict[str, Float32Array]()
        with contextlib.suppress(NotFoundError):
            for part in slices(chunk_ids, PAGE):
                found |= await self._placed(scope, partial(self._calls.vectors, name, scope, part))
        return found

    async def pages(self, scope: Scope) -> AsyncIterator[list[Chunk]]:
        """All chunks of the scope, in the order of their ids."""
        shown = models.PayloadSelectorExclude(exclude=list(NO_CHUNK))
        with contextlib.suppress(NotFoundError):
            async for records in self._pages(scope, of(scope), payload=shown):
                yield [chunk_of(turned(scope, r.id), r.payload or {}) for r in records]

    async def holds(self, scope: Scope) -> bool:
        """True if the scope has any chunk."""
        with contextlib.suppress(NotFoundError):
            async for _ in self._pages(scope, of(scope), payload=False, page=1):
                return True
        return False

    async def search(self, scope: Scope, legs: Sequence[Leg]) -> list[list[Match]]:
        """All legs in one request; best first, ties by chunk id.

        Raises:
            InputError: A filter is on a field that none of the tenant's chunks has. Known fields
                are cached: only a new one costs a request of its own.
        """
        try:
            if not legs or not await self._checked(scope, legs):
                return [[] for _ in legs]
            name = self._name(scope.collection)
            ask = partial(self._calls.search, name, scope, legs, rescore=self._rescore)
            ranked = await self._placed(scope, ask)
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
        with contextlib.suppress(NotFoundError):
            # A collection without token vectors refuses this request, and so does any for no token.
            asked = len(chunk_ids) > 0 and len(question) > 0
            if asked and await self._count(scope, has_tokens(scope, chunk_ids)):
                name = self._name(scope.collection)
                ask = partial(self._calls.max_sim, name, scope, question, chunk_ids)
                return dict(await self._placed(scope, ask))
        return {}

    async def idf(self, scope: Scope, terms: Sequence[int]) -> list[float]:
        """Returns each term's weight on the server: its best match's score by its stored weight."""
        requests = [term_query(scope, term) for term in terms]
        try:
            count = await self._count(scope)
            ranked = await self._query(scope, requests) if count else [[] for _ in terms]
        except NotFoundError:
            return [0.0] * len(terms)
        unseen = bm25_idf(count, 0) if count else 0.0
        return [
            points[0].score / weight_of(points[0], term) if points else unseen
            for term, points in zip(terms, ranked, strict=True)
        ]

    # Versions

    async def versions(self, collection: str) -> list[int]:
        """Returns the stored versions, in order."""
        stem = self._physical(collection, "")
        held = (await self._server.call(self._client.get_collections)).collections
        return sorted(number_of(c.name.removeprefix(stem)) for c in held if c.name.startswith(stem))

    async def current_version(self, collection: str) -> int | None:
        """Returns the version that is read and written; None if the collection was never made."""
        current, _ = await self._aliased(collection)
        return current

    async def _aliased(self, collection: str) -> tuple[int | None, int | None]:
        """Returns the current and the previous version."""
        alias, stem = self._name(collection), self._physical(collection, "")
        found = {
            each.alias_name: number_of(each.collection_name.removeprefix(stem))
            for each in (await self._server.call(self._client.get_aliases)).aliases
            if each.alias_name in (alias, alias + PREVIOUS)
        }
        return found.get(alias), found.get(alias + PREVIOUS)

    async def _check_alias(self, collection: str) -> None:
        """Checks a collection that was not found: it was never created, or is a version.

        Raises:
            StorageError: The collection's alias names a version that does not exist.
        """
        current = None if VERSION in collection else await self.current_version(collection)
        if current is not None and current not in await self.versions(collection):
            raise StorageError(
                f"The version of {collection!r} that is searched, v{current}, is not on the Qdrant"
                " server. Bring it back from a snapshot; or remove its alias, and ingest again.",
                code="dangling_alias",
                detail=f"The alias is {self._name(collection)!r}.",
            )

    def _physical(self, collection: str, version: int | Literal[""]) -> str:
        return f"{self._name(collection)}{VERSION}{version}"

    # Names

    def _name(self, collection: str) -> str:
        return f"{self._prefix}{collection}"

    # Fields

    async def _checked(self, scope: Scope, legs: Sequence[Leg]) -> bool:
        """Refuses filters that cannot hold; False if there is nothing to filter."""
        asked = {condition.field for leg in legs for condition in leg.where}
        known = self._fields.get(scope, set())
        if not asked <= known:
            known = await self._known_fields(scope)
            if not known:
                return False
        for leg in legs:
            check(leg.where, known)
        return True

    async def _known_fields(self, scope: Scope) -> set[str]:
        """Returns the fields of the scope's chunks; empty if it has no chunk."""
        # Concurrent writers may exceed the bound a little.
        self._fields[scope] = {str(v) for v in await self._facet(scope, "fields", 2 * MAX_FIELDS)}
        return self._fields[scope]

    # Requests

    async def _query(
        self, scope: Scope, requests: Sequence[models.QueryRequest]
    ) -> list[list[models.ScoredPoint]]:
        if not requests:
            return []
        name = self._name(scope.collection)
        return await self._placed(scope, partial(self._models.query, name, requests))

    async def _at(
        self, scope: Scope, method: Callable[..., Awaitable[_T]], *args: Any, **kwargs: Any
    ) -> _T:
        """Calls a method of the client on the tenant's shard."""
        name = self._name(scope.collection)
        return await self._placed(
            scope,
            lambda place: self._server.call(
                method, name, *args, shard_key_selector=place.key, **kwargs
            ),
        )

    async def _placed(self, scope: Scope, ask: Callable[[Placement], Awaitable[_T]]) -> _T:
        """Asks the shard with the tenant's chunks.

        The placement is cached. If another process has switched to a version with other shards, the
        server reports that, and it is asked once more.
        """
        try:
            return await ask(await self._placement(scope))
        except NotFoundError:
            await self._check_alias(scope.collection)
            raise
        except StorageError as error:
            if error.code != MOVED:
                raise
        self._placements.pop(scope, None)
        return await ask(await self._placement(scope))

    async def _placement(self, scope: Scope) -> Placement:
        if scope not in self._placements:
            name = self._name(scope.collection)
            found = (await self._server.call(self._client.list_shard_keys, name)).shard_keys or []
            keys, own = {str(each.key) for each in found}, tenant_key(scope.tenant)
            if own in keys:
                info = await self._server.call(self._client.collection_cluster_info, name)
                if not is_active(info, own):  # the tenant is still being moved to it
                    keys.remove(own)
            self._placements[scope] = placement_of(scope.tenant, keys)
        return self._placements[scope]

    async def _facet(self, scope: Scope, field: str, limit: int) -> dict[Any, int]:
        """Counts the scope's points with each value of an indexed field."""
        facet = self._client.facet
        response = await self._at(scope, facet, field, of(scope), limit=limit, exact=True)
        return {hit.value: hit.count for hit in response.hits}

    async def _count(self, scope: Scope, where: models.Filter | None = None) -> int:
        return (await self._at(scope, self._client.count, where or of(scope))).count

    async def _pages(
        self,
        scope: Scope,
        where: models.Filter,
        payload: bool | list[str] | models.PayloadSelectorExclude,
        vectors: bool | list[str] = False,
        page: int | None = None,
    ) -> AsyncIterator[list[models.Record]]:
        """Yields the points in pages of `PAGE`, none empty: the server refuses an empty batch."""
        offset: Any = None
        while True:
            records, offset = await self._at(
                scope,
                self._client.scroll,
                scroll_filter=where,
                limit=page or PAGE,
                offset=offset,
                with_payload=payload,
                with_vectors=vectors,
            )
            if records:
                yield records
            if offset is None:
                return


def slices(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """Yields the items in runs of `size`, the last one shorter."""
    return (items[i : i + size] for i in range(0, len(items), size))


def number_of(version: str) -> int:
    """Returns the number in a version's name.

    Raises:
        ConfigError: It is no number, so the name is not Plumbline's.
    """
    if not version.isdecimal():
        raise ConfigError(
            f"An alias or collection on the Qdrant server, {version!r}, is none of Plumbline's and"
            " has a name of its: set another `index.prefix`."
        )
    return int(version)
