"""A Qdrant server or cluster: many workers write, and tenants share a collection.

A collection `docs` is an alias, `plumbline_docs`, of a physical collection, `plumbline_docs.v1`: a
new version is filled beside the old one and the alias moved in one step. (A dot is in no
collection's name, so the two kinds of name never meet.) Every point says whose it is, every call
filters by that, and a point's id is its chunk's turned by the tenant's: two tenants may hold the
same chunk id. IDF is the tenant's own; with several shards all that it has lies in one of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
from qdrant_client import models

from rag.errors import ConfigError, InputError, NotFoundError, RagError, StorageError
from rag.types import Chunk, Float32Array, Leg, Match, Point, Scope
from retrieval.filters import check
from retrieval.payload import OWN_FIELDS, chunk_of, field_kinds, path_of
from retrieval.qdrant_points import (
    DENSE,
    INDEXES,
    INDEXING_KB,
    SCHEMA,
    SPARSE,
    TOKENS,
    TOKENS_ON_DISK,
    Layout,
    ShardKey,
    collection_options,
    equal,
    has_ids,
    has_mean,
    has_tokens,
    length_of,
    max_sim_query,
    of,
    one_of,
    point_of,
    query_of,
    reweighing,
    rewriting,
    term_query,
    tokens_field,
    turned,
    weight_of,
)
from retrieval.qdrant_server import EXISTS, MOVED, Server
from retrieval.qdrant_shards import (
    Placement,
    is_active,
    part_keys,
    placed,
    placement_of,
    tenant_key,
)
from retrieval.sparse import bm25_idf, rounded_mean

WRITE_SLICE = 256
"""Points in one request: under 2 MB with 384 dimensions and their texts."""
TOKENS_SLICE = 16
"""As many with token vectors: 3 MB."""
PAGE = 1_000
"""Points read in one request."""
LENGTHS = 10_000
"""Lengths of chunks, in terms, that are told apart at most."""
MAX_FIELDS = 256
"""Meta fields of one tenant, and payload indexes of a collection; a filter on a field past them
still holds, without an index of its own."""

VERSION_SECONDS = 10.0
"""For so long it is remembered which version is searched: other processes may switch."""
VERSION_PATIENCE = 0.2
"""A question waits no longer for what its trace alone tells."""
SHOWN = 5
"""Fields that a message names."""
_VERSION, _PREVIOUS = ".v", ".previous"
"""What follows a collection's name: in the name of a version, and of the alias of the one before.
A scope with such a name is that version."""

_T = TypeVar("_T")


@dataclass(slots=True)
class Lengths:
    """What is known of a scope's chunks: how many, and how many terms they hold together."""

    points: int
    terms: int

    @property
    def mean(self) -> float:
        """What weights are to be made with."""
        return rounded_mean(self.terms, self.points)


class QdrantIndex:
    """`Index` on a Qdrant server. Any number of processes may work on the same collections."""

    def __init__(
        self,
        server: Server,
        *,
        dim: int,
        prefix: str = "",
        layout: Layout | None = None,
    ) -> None:
        """Make an index; `prefix` comes before the names of its collections on the server."""
        self._server = server
        self._client = server.client
        self._dim = dim
        self._prefix = prefix
        self._layout = layout or Layout()
        self._indexed: dict[str, set[str]] = {}
        """Payload indexes of each collection that was written to."""
        self._fields: dict[Scope, set[str]] = {}
        self._lengths: dict[Scope, Lengths] = {}
        self._placements: dict[Scope, Placement] = {}
        self._versions: dict[str, tuple[str, float]] = {}
        """Of collections, what is searched, and until when that is believed."""

    # Writing

    async def upsert(self, scope: Scope, points: Sequence[Point]) -> None:
        """Writes points; those without vectors keep the ones they have.

        Raises:
            InputError: the tenant would have more than `MAX_FIELDS` meta fields.
            ConfigError: the collection was made with vectors of another length.
        """
        name = self._name(scope.collection)
        try:
            await self._prepare(scope.collection)
            await self._admit(scope, points)
            vectors = list({p.chunk.id: p for p in points if p.dense is not None}.values())
            by_token = any(p.tokens is not None for p in vectors)
            if by_token:
                await self._admit_tokens(name)
            mean = (await self._noted(scope, vectors)).mean
            for part in _slices(vectors, TOKENS_SLICE if by_token else WRITE_SLICE):
                structs = [point_of(scope, point, mean) for point in part]
                await self._at(scope, self._client.upsert, structs)
            moved = list({p.chunk.id: p.chunk for p in points if p.dense is None}.values())
            for chunks in _slices(moved, WRITE_SLICE):
                await self._update(scope, partial(rewriting, scope, chunks))
        except NotFoundError:  # someone removed the collection: the next write makes it anew
            self._indexed.pop(name, None)
            raise

    async def delete(self, scope: Scope, chunk_ids: Sequence[str]) -> None:
        """Removes chunks; unknown ids are ignored.

        Of the previous version all chunks of their documents go, first: repeated after it was cut
        short, it does the rest.
        """
        with contextlib.suppress(NotFoundError):
            previous = await self.previous_version(scope) if chunk_ids else None
            for part in _slices(chunk_ids, PAGE):
                where = of(scope, has_ids(scope, part))
                if previous is not None:
                    await self._delete_before(previous, scope, where)
                await self._remove(scope, where)

    async def _delete_before(self, previous: Scope, scope: Scope, where: models.Filter) -> None:
        """Removes from the version before the documents that these points are of."""
        documents: set[str] = set()
        async for records in self._pages(scope, where, payload=["document_id"]):
            documents.update((record.payload or {})["document_id"] for record in records)
        if not documents:
            return
        with contextlib.suppress(NotFoundError):
            theirs = of(previous, one_of("document_id", sorted(documents)))
            await self._remove(previous, theirs)

    async def _remove(self, scope: Scope, where: models.Filter) -> None:
        await self._at(scope, self._client.delete, models.FilterSelector(filter=where))

    def erasing(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Does nothing: the server's optimizer removes what was deleted, in its own time."""
        return contextlib.nullcontext()

    async def maintain(self, scope: Scope) -> None:
        """Makes BM25 weights anew that were made with another mean. Searches and writes go on.

        So weights follow from the chunks alone, whoever wrote them: of several who maintain while
        the mean still moves, the last one sees it. Of a version that was filled, the graph is built
        from here on, in the background.
        """
        if _VERSION in scope.collection:
            await self._build_from(self._name(scope.collection), kilobytes=INDEXING_KB)
        with contextlib.suppress(NotFoundError):
            if not await self.holds(scope):
                return
            await self._prepare(scope.collection)  # one made by an older release has no lengths
            before = None
            while (mean := (await self._measured(scope)).mean) != before:
                drifted = of(scope, models.Filter(must_not=[has_mean(mean)]))
                async for records in self._pages(scope, drifted, ["length", "mean"], [SPARSE]):
                    await self._reweigh(scope, records, mean)
                before = mean

    async def close(self) -> None:
        """Lets go of the connections, those of every `at` too."""
        await self._client.close()

    # Reading

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
        # What filters look at says the same as meta.
        shown = models.PayloadSelectorExclude(exclude=["where"])
        found: dict[str, Chunk] = {}
        with contextlib.suppress(NotFoundError):
            for part in _slices(chunk_ids, PAGE):
                where = of(scope, has_ids(scope, part))
                async for records in self._pages(scope, where, payload=shown):
                    for record in records:
                        chunk_id = turned(scope, record.id)
                        found[chunk_id] = chunk_of(chunk_id, record.payload or {})
        return [found[i] for i in chunk_ids if i in found]

    async def vectors(self, scope: Scope, chunk_ids: Sequence[str]) -> dict[str, Float32Array]:
        """The dense vectors of these chunks, by id."""
        found: dict[str, Float32Array] = {}
        with contextlib.suppress(NotFoundError):
            for part in _slices(chunk_ids, PAGE):
                where = of(scope, has_ids(scope, part))
                async for records in self._pages(scope, where, payload=False, vectors=[DENSE]):
                    for record in records:
                        vector: Any = record.vector
                        found[turned(scope, record.id)] = np.array(vector[DENSE], np.float32)
        return found

    async def pages(self, scope: Scope) -> AsyncIterator[list[Chunk]]:
        """All chunks of the scope, in the order of their ids."""
        shown = models.PayloadSelectorExclude(exclude=["where"])
        with contextlib.suppress(NotFoundError):
            async for records in self._pages(scope, of(scope), payload=shown):
                yield [chunk_of(turned(scope, r.id), r.payload or {}) for r in records]

    async def name_of(self, scope: Scope) -> str:
        """The version that the alias names, asked anew; of a version its own number: "v2"."""
        name, _, number = scope.collection.partition(_VERSION)
        version = int(number) if number else await self.current_version(name)
        return "" if version is None else f"v{version}"

    async def holds(self, scope: Scope) -> bool:
        """Whether there is any chunk of the scope."""
        with contextlib.suppress(NotFoundError):
            async for _ in self._pages(scope, of(scope), payload=False, page=1):
                return True
        return False

    async def search(self, scope: Scope, legs: Sequence[Leg]) -> list[list[Match]]:
        """All legs in one request; best first, ties by chunk id.

        Raises:
            InputError: a filter is on a field that none of the tenant's chunks has. That a field is
                there is remembered: only one not met before costs a request of its own.
        """
        try:
            if not await self._checked(scope, legs):
                return [[] for _ in legs]
            rescore = self._layout.quantization != "none"
            requests = [query_of(scope, leg, rescore=rescore) for leg in legs]
            ranked = await self._query(scope, requests)
        except NotFoundError:
            return [[] for _ in legs]
        return [
            sorted(
                (Match(turned(scope, point.id), point.score) for point in points),
                key=lambda match: (-match.score, match.chunk_id),
            )[: leg.limit]
            for leg, points in zip(legs, ranked, strict=True)
        ]

    async def max_sim(
        self, scope: Scope, question: Float32Array, chunk_ids: Sequence[str]
    ) -> dict[str, float]:
        """Late interaction with the stored token vectors of these chunks, by id."""
        with contextlib.suppress(NotFoundError):
            # A collection that never had any refuses to be asked, and so does any for no token.
            asked = len(chunk_ids) > 0 and len(question) > 0
            if asked and await self._count(scope, has_tokens(scope, chunk_ids)):
                request = max_sim_query(scope, question, chunk_ids)
                [points] = await self._query(scope, [request])
                return {turned(scope, point.id): point.score for point in points}
        return {}

    async def idf(self, scope: Scope, terms: Sequence[int]) -> list[float]:
        """What the server weighs each term with: its best match's score by its stored weight."""
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

    async def version(self, scope: Scope) -> str:
        """What the alias stands for, "v2"; "" as well where the server does not say.

        A question does not fail for what its trace could tell.
        """
        name, until = self._versions.get(scope.collection, ("", 0.0))
        if time.monotonic() < until:
            return name
        until = time.monotonic() + VERSION_SECONDS  # others do not ask meanwhile
        self._versions[scope.collection] = name, until
        with contextlib.suppress(RagError, TimeoutError):
            async with asyncio.timeout(VERSION_PATIENCE):
                current = await self.current_version(scope.collection)
            before, name = name, "" if current is None else f"v{current}"
            if before not in ("", name):  # another process has switched
                self._forget(scope.collection)
            self._versions[scope.collection] = name, until
        return name

    # Versions: `begin_version`, fill and `maintain` it, `switch_version`

    async def create_version(self, collection: str) -> int:
        """An empty version beside those there are; its number. Nothing reads it yet."""
        version = max(await self.versions(collection), default=0) + 1
        await self._create(collection, version)
        return version

    async def versions(self, collection: str) -> list[int]:
        """The versions that are stored, in order."""
        stem = self._physical(collection, "")
        held = (await self._server.call(self._client.get_collections)).collections
        return sorted(_number(c.name.removeprefix(stem)) for c in held if c.name.startswith(stem))

    async def current_version(self, collection: str) -> int | None:
        """The version that is read and written; None where the collection was never made."""
        current, _ = await self._aliased(collection)
        return current

    async def switch(self, collection: str, version: int) -> int | None:
        """Makes a version the current one in one atomic step; the one before, for a way back.

        Raises:
            NotFoundError: there is no such version.
        """
        before, previous = await self._aliased(collection)
        alias = self._alias(collection)
        steps = [*_moved(alias, before, self._physical(collection, version))]
        if before is not None and before != version:
            steps += _moved(alias + _PREVIOUS, previous, self._physical(collection, before))
        await self._server.call(self._client.update_collection_aliases, steps)
        self._forget(collection)
        return before

    async def begin_version(self, scope: Scope) -> Scope:
        """An empty version; those that are neither searched nor searched before are removed.

        While much is loaded no graph is built: `maintain` has it begun. Where there are several
        shards, the tenant gets one of its own.

        Raises:
            InputError: the collection holds other tenants' chunks: a version is for all of them.
        """
        await self._check_owned(scope)
        await self._sweep(scope.collection)
        version = await self.create_version(scope.collection)
        if self._layout.shards > 1:
            await self._make_key(
                self._physical(scope.collection, version), tenant_key(scope.tenant)
            )
        await self._build_from(self._physical(scope.collection, version), kilobytes=0)
        return replace(scope, collection=f"{scope.collection}{_VERSION}{version}")

    async def previous_version(self, scope: Scope) -> Scope | None:
        """The one that a second alias names."""
        _, previous = await self._aliased(scope.collection)
        if previous is None:
            return None
        return replace(scope, collection=f"{scope.collection}{_VERSION}{previous}")

    async def switch_version(self, scope: Scope, version: Scope) -> None:
        """Moves both aliases; the version before the previous one is removed."""
        _, _, number = version.collection.partition(_VERSION)
        await self.switch(scope.collection, int(number))
        with contextlib.suppress(RagError):  # it is switched; the next version sweeps again
            await self._sweep(scope.collection)

    async def _check_owned(self, scope: Scope) -> None:
        name = self._name(scope.collection)
        others = models.Filter(must_not=[equal("tenant", scope.tenant)])
        with contextlib.suppress(NotFoundError):
            if (await self._server.call(self._client.count, name, others)).count:
                raise InputError(
                    f"The collection {name!r} on the Qdrant server holds chunks of other tenants,"
                    " and a new version would be without them: only a collection of one tenant's"
                    " can be indexed again.",
                    code="shared_collection",
                )

    async def _sweep(self, collection: str) -> None:
        kept = await self._aliased(collection)
        for version in await self.versions(collection):
            if version not in kept:
                await self.drop_version(collection, version)

    async def _aliased(self, collection: str) -> tuple[int | None, int | None]:
        """The current and the previous version."""
        alias, stem = self._alias(collection), self._physical(collection, "")
        found = {
            each.alias_name: _number(each.collection_name.removeprefix(stem))
            for each in (await self._server.call(self._client.get_aliases)).aliases
            if each.alias_name in (alias, alias + _PREVIOUS)
        }
        return found.get(alias), found.get(alias + _PREVIOUS)

    async def drop_version(self, collection: str, version: int) -> None:
        """Removes a version that is not the current one.

        Raises:
            InputError: it is the current one.
        """
        if version == await self.current_version(collection):
            raise InputError(
                f"Version {version} of {collection!r} is in use: switch to another one first."
            )
        physical = self._physical(collection, version)
        await self._server.call(self._client.delete_collection, physical)

    # Names

    def _alias(self, collection: str) -> str:
        return f"{self._prefix}{collection}"

    def _physical(self, collection: str, version: int | Literal[""]) -> str:
        return f"{self._alias(collection)}{_VERSION}{version}"

    def _name(self, collection: str) -> str:
        return self._alias(collection)

    def _forget(self, collection: str) -> None:
        """What is known of a collection; its versions keep to themselves."""
        self._indexed.pop(self._name(collection), None)
        self._versions.pop(collection, None)
        for known in (self._fields, self._lengths, self._placements):
            for scope in [scope for scope in known if scope.collection == collection]:
                known.pop(scope)

    # Collections

    async def _prepare(self, collection: str) -> None:
        """Makes sure that the collection is there and fits, once in a process."""
        name = self._name(collection)
        if name in self._indexed:
            return
        info = await self._opened(collection, name)
        vectors: Any = info.config.params.vectors
        dense = vectors.get(DENSE) if isinstance(vectors, dict) else None
        if dense is None:
            raise ConfigError(
                f"The collection {name!r} on the Qdrant server is none of Plumbline's: set another"
                " `index.prefix`."
            )
        if dense.size != self._dim:
            raise ConfigError(
                f"The collection {name!r} was made with vectors of {dense.size} numbers, and the"
                f" embedder's have {self._dim}: use the model it was made with, or ingest into"
                " another collection."
            )
        indexed = set(info.payload_schema)
        for path in INDEXES.keys() - indexed:  # also where who made it was cut short
            await self._server.call(self._client.create_payload_index, name, path, INDEXES[path])
        self._indexed[name] = indexed | INDEXES.keys()

    async def _admit_tokens(self, name: str) -> None:
        """Makes room for token vectors, also in a collection that was made without.

        Asked before every write: the name may stand for another version since.
        """
        info = await self._server.call(self._client.get_collection, name)
        vectors: Any = info.config.params.vectors
        if TOKENS not in vectors:
            field = tokens_field(dim=self._dim)
            await self._server.call(self._client.create_vector_name, name, TOKENS, field)
            await self._server.call(
                self._client.update_collection, name, vectors_config=TOKENS_ON_DISK
            )

    async def _opened(self, collection: str, name: str) -> models.CollectionInfo:
        """The collection, made where it is not there; a version is made by `create_version`."""
        try:
            return await self._server.call(self._client.get_collection, name)
        except NotFoundError:
            if _VERSION in collection:
                raise
        if await self.current_version(collection) is None:
            await self._create(collection, 1)
            if await self.current_version(collection) is None:  # no other worker came before
                await self.switch(collection, 1)
        await self._check_alias(collection)
        return await self._server.call(self._client.get_collection, name)

    async def _check_alias(self, collection: str) -> None:
        """What is not found was never made, or is a version.

        Raises:
            StorageError: the collection's alias names a version that is not there.
        """
        current = None if _VERSION in collection else await self.current_version(collection)
        if current is not None and current not in await self.versions(collection):
            raise StorageError(
                f"The version of {collection!r} that is searched, v{current}, is not on the Qdrant"
                " server. Bring it back from a snapshot; or remove its alias, and ingest again.",
                code="dangling_alias",
                detail=f"The alias is {self._alias(collection)!r}.",
            )

    async def _create(self, collection: str, version: int) -> None:
        physical = self._physical(collection, version)
        with _there_already():  # another worker was faster
            await self._server.call(
                self._client.create_collection,
                physical,
                **collection_options(self._layout, dim=self._dim),
            )
        try:
            for key in part_keys(self._layout.shards) if self._layout.shards > 1 else []:
                await self._make_key(physical, key)
        except ConfigError:  # no shard keys on a server that runs alone
            await self._server.call(self._client.delete_collection, physical)
            raise

    async def _make_key(self, physical: str, key: str) -> None:
        with _there_already():
            await self._server.call(self._client.create_shard_key, physical, key)

    async def _build_from(self, physical: str, *, kilobytes: int) -> None:
        threshold = models.OptimizersConfigDiff(indexing_threshold=kilobytes)
        await self._server.call(
            self._client.update_collection, physical, optimizers_config=threshold
        )

    # Fields

    async def _admit(self, scope: Scope, points: Sequence[Point]) -> None:
        """Takes note of the points' meta fields and has them indexed."""
        kinds = field_kinds(point.chunk.meta for point in points)
        fields = {field for field, _ in kinds} - OWN_FIELDS.keys()
        if not fields <= self._fields.get(scope, set()):
            known = await self._known_fields(scope) - OWN_FIELDS.keys()
            if len(known | fields) > MAX_FIELDS:
                raise InputError(
                    f"The collection has {len(known)} meta fields and cannot take"
                    f" {', '.join(sorted(fields - known)[:SHOWN])} besides ({MAX_FIELDS} at most):"
                    " put rarely used values into one field.",
                    code="too_many_fields",
                )
        name = self._name(scope.collection)
        indexed = self._indexed[name]
        for path, schema in ((path_of(field, kind), SCHEMA[kind]) for field, kind in kinds):
            if path not in indexed and len(indexed) < MAX_FIELDS:
                await self._server.call(self._client.create_payload_index, name, path, schema)
                indexed.add(path)

    async def _checked(self, scope: Scope, legs: Sequence[Leg]) -> bool:
        """Refuses filters that cannot hold; whether there is anything to filter."""
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
        """The fields that the scope's chunks have; empty where it has no chunk."""
        # Several who write at once may pass the bound a little.
        self._fields[scope] = {str(v) for v in await self._facet(scope, "fields", 2 * MAX_FIELDS)}
        return self._fields[scope]

    # Lengths

    async def _noted(self, scope: Scope, points: Sequence[Point]) -> Lengths:
        """The scope's lengths with these points', measured with the first write of a process."""
        lengths = self._lengths.get(scope) or await self._measured(scope)
        lengths.points += len(points)
        lengths.terms += sum(length_of(point) for point in points)
        return lengths

    async def _measured(self, scope: Scope) -> Lengths:
        """The lengths of all that is there: the server counts how many chunks have which."""
        counts = await self._facet(scope, "length", LENGTHS)
        self._lengths[scope] = Lengths(
            points=sum(counts.values()),
            terms=sum(int(length) * count for length, count in counts.items()),
        )
        return self._lengths[scope]

    async def _reweigh(self, scope: Scope, records: Sequence[models.Record], mean: float) -> None:
        """Makes these points' weights with `mean`, but for those that someone wrote meanwhile.

        The mean is written first, and only over the one that was read; the weights follow where
        that went through. Between the two a point is as far off as it was, never wrong.
        """
        # A point that was deleted meanwhile ends the request after its group: the next round takes
        # up the others.
        with contextlib.suppress(NotFoundError):
            await self._update(scope, partial(reweighing, scope, records, mean))

    # Requests

    async def _at(
        self, scope: Scope, method: Callable[..., Awaitable[_T]], *args: Any, **kwargs: Any
    ) -> _T:
        """What a method of the client returns, asked of the tenant's shard."""
        name = self._name(scope.collection)
        return await self._placed(
            scope,
            lambda place: self._server.call(
                method, name, *args, shard_key_selector=place.key, **kwargs
            ),
        )

    async def _update(self, scope: Scope, operations: Callable[[ShardKey], list[Any]]) -> None:
        name, update = self._name(scope.collection), self._client.batch_update_points
        await self._placed(
            scope, lambda place: self._server.call(update, name, operations(place.key))
        )

    async def _query(
        self, scope: Scope, requests: Sequence[models.QueryRequest]
    ) -> list[list[models.ScoredPoint]]:
        if not requests:
            return []
        name, query = self._name(scope.collection), self._client.query_batch_points
        responses = await self._placed(
            scope,
            lambda place: self._server.call(
                query, name, [placed(each, place) for each in requests]
            ),
        )
        return [response.points for response in responses]

    async def _placed(self, scope: Scope, ask: Callable[[Placement], Awaitable[_T]]) -> _T:
        """What is answered from where the tenant's chunks lie.

        That is remembered. Where another process has switched to a version with other shards, the
        server says so, and it is asked once more.
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
                if not is_active(info, own):  # the tenant is just being moved to it
                    keys.remove(own)
            self._placements[scope] = placement_of(scope.tenant, keys)
        return self._placements[scope]

    async def _facet(self, scope: Scope, field: str, limit: int) -> dict[Any, int]:
        """How many of the scope's points have which value in an indexed field."""
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
        """The points in pages of `PAGE`, none empty: the server refuses a batch of nothing."""
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


@contextlib.contextmanager
def _there_already() -> Iterator[None]:
    try:
        yield
    except StorageError as error:
        if error.code != EXISTS:
            raise


def _moved(alias: str, before: int | None, physical: str) -> Iterator[Any]:
    """The steps that have an alias name another collection, or a first one."""
    if before is not None:
        delete = models.DeleteAlias(alias_name=alias)
        yield models.DeleteAliasOperation(delete_alias=delete)
    create = models.CreateAlias(collection_name=physical, alias_name=alias)
    yield models.CreateAliasOperation(create_alias=create)


def _number(version: str) -> int:
    if not version.isdecimal():
        raise ConfigError(
            f"An alias or collection on the Qdrant server, {version!r}, is none of Plumbline's and"
            " has a name of its: set another `index.prefix`."
        )
    return int(version)


def _slices(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    return (items[i : i + size] for i in range(0, len(items), size))
