"""A Qdrant server or cluster: many workers write, and tenants share a collection.

A collection `docs` is an alias, `plumbline_docs`, of a physical collection, `plumbline_docs.v1`: a
new version is filled beside the old one and the alias moved in one step. (A dot is in no
collection's name, so the two kinds of name never meet.) Every point says whose it is, every call
filters by that, and a point's id is its chunk's turned by the tenant's: two tenants may hold the
same chunk id. IDF is the tenant's own, which a server counts from version 1.19 on; with several
shards each counts its own part.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, ParamSpec, TypeVar

import numpy as np
from grpc import StatusCode
from grpc.aio import AioRpcError
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import (
    ApiException,
    ResponseHandlingException,
    UnexpectedResponse,
)

from rag.errors import (
    BusyError,
    ConfigError,
    InputError,
    NotFoundError,
    RagError,
    StorageError,
    UpstreamError,
)
from rag.types import Chunk, Condition, Leg, Match, Point, Scope, SparseVector
from retrieval.filters import Equals, Test, check, tests
from retrieval.payload import (
    OWN_FIELDS,
    FieldType,
    chunk_of,
    field_kinds,
    path_of,
    payload_of,
)
from retrieval.sparse import bm25_idf, bm25_weights, reweigh

DENSE, SPARSE = "dense", "sparse"
OLDEST_SERVER = (1, 19)
"""The first that counts IDF over a filter; an older one would mix the tenants' and not say so."""
WRITE_SLICE = 256
"""Points in one request: under 2 MB with 384 dimensions and their texts."""
PAGE = 1_000
"""Points read in one request."""
SAMPLE = 4_000
"""Chunks whose lengths are looked at for the mean: within 1 % of it where lengths spread by half
the mean, far inside `MEAN_DRIFT`."""
MEAN_DRIFT = 0.05
"""Weights are made anew when their mean length is this far from today's."""
INDEXING_KB = 10_000
"""KB of vectors in a segment from which it gets a graph: Qdrant's default."""
MAX_FIELDS = 256
"""Meta fields of one tenant, and payload indexes of a collection; a filter on a field past them
still holds, without an index of its own."""
ATTEMPTS = 3
FIRST_PAUSE = 0.2
"""Seconds before the second attempt; doubles with each, and varies by half to part the workers."""

_P = ParamSpec("_P")
_T = TypeVar("_T")
_FAILURES = (ApiException, QdrantException, AioRpcError, TimeoutError, ValueError, KeyError)
"""What the client raises: over HTTP, either, over gRPC, waiting, and two kinds in local mode."""
_TENANTS = uuid.UUID("a25d5b8f-7c0b-4c9e-9a53-30a2f2f4a6d1")
_SCHEMA: dict[FieldType, models.PayloadSchemaType] = {
    "keyword": models.PayloadSchemaType.KEYWORD,
    "flag": models.PayloadSchemaType.KEYWORD,
    "number": models.PayloadSchemaType.FLOAT,
    "date": models.PayloadSchemaType.DATETIME,
}
_INDEXES: dict[str, models.PayloadSchemaType | models.KeywordIndexParams] = {
    "tenant": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
    "fields": models.PayloadSchemaType.KEYWORD,
    "mean": models.PayloadSchemaType.FLOAT,
    **{path_of(field, kind): _SCHEMA[kind] for field, kind in OWN_FIELDS.items()},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a new collection is laid out; one that is there keeps what it was made with."""

    shards: int = 1
    replicas: int = 1
    hnsw_m: int = 16
    hnsw_ef_construct: int = 100
    on_disk: bool = False
    quantization: Literal["none", "int8"] = "none"


@dataclass(slots=True)
class Lengths:
    """What is known of a scope's chunks: how many, and how many terms they hold together."""

    points: float
    terms: float

    @property
    def mean(self) -> float:
        """Terms of a chunk; 1 where there is none."""
        return self.terms / self.points if self.terms else 1.0


class Server:
    """A client, and how it is called: in time, again where that may help, with errors that help."""

    def __init__(self, client: AsyncQdrantClient, *, url: str, timeout: float) -> None:
        """Take a client that is this object's to close; `timeout` is in seconds, for each try."""
        self.client = client
        self._url = url
        self._timeout = timeout
        self._greeted = False

    async def call(
        self, method: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """What the method returns. Every call is one that may be repeated.

        Raises:
            NotFoundError: the server has no such collection.
            UpstreamError: it cannot be reached, is too slow or fails, also when asked again.
            ConfigError: it is not a Qdrant server that will do, or refuses the key.
            StorageError: its disk is full, or it refuses the request.
        """
        if not self._greeted:
            version = (await self._try(self.client.info)).version
            if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_SERVER:
                raise ConfigError(
                    f"The Qdrant server at {self._url} is version {version}, and cannot keep"
                    " tenants' term statistics apart. Update it to 1.19 or later."
                )
            self._greeted = True
        return await self._try(method, *args, **kwargs)

    async def _try(
        self, method: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        for attempt in range(1, ATTEMPTS):
            try:
                return await self._once(method, *args, **kwargs)
            except UpstreamError:
                pause = FIRST_PAUSE * 2 ** (attempt - 1)
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
        return await self._once(method, *args, **kwargs)

    async def _once(
        self, method: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        try:
            async with asyncio.timeout(self._timeout):
                return await method(*args, **kwargs)
        except _FAILURES as error:
            status, cause = _failure(error)
            if status is None:
                raise
            raise self._explained(status, cause) from error

    def _explained(self, status: int, cause: str) -> RagError:
        at = f"The Qdrant server at {self._url}"
        match status:
            case _ if "No space left" in cause or "out of disk" in cause.lower():
                return StorageError(
                    f"{at} has no disk space left: {cause}. Free some and run it again; what was"
                    " stored before is kept.",
                    code="disk_full",
                )
            case 401 | 403:
                return ConfigError(f"{at} refuses the API key: {cause}. Set `index.api_key`.")
            case 404 if "ollection" in cause or "point" in cause:
                return NotFoundError(f"{at} does not hold it: {cause}.")
            case 404 | 501:
                return ConfigError(
                    f"What answers at {self._url} is no Qdrant server: {cause}. Mend `index.url`,"
                    " or `index.grpc_port`."
                )
            case 409:
                return StorageError(f"{at} has it already: {cause}.", code="exists")
            case 429:
                return BusyError(f"{at} is at its limit: {cause}. Try again later.")
            case 504:
                return UpstreamError(
                    f"{at} did not answer within {self._timeout:g} s: {cause}. Try again later, or"
                    " raise `index.timeout`."
                )
            case 503:
                return UpstreamError(
                    f"{at} cannot be reached: {cause}. Start it, or mend `index.url` and"
                    " `index.grpc_port` (`index.prefer_grpc = false` does without gRPC)."
                )
            case _ if status >= 500:  # noqa: PLR2004
                return UpstreamError(f"{at} failed: {cause}. Its log says more; try again later.")
            case _:
                return StorageError(f"{at} refuses the request: {cause}.")


def connect(
    url: str, *, api_key: str | None, grpc_port: int, prefer_grpc: bool, timeout: float
) -> Server:
    """A server by its address; nothing is sent yet. `timeout` is in seconds."""
    client = AsyncQdrantClient(
        url=url,
        api_key=api_key,
        grpc_port=grpc_port,
        prefer_grpc=prefer_grpc,
        timeout=math.ceil(timeout),
        check_compatibility=False,  # `Server` does, and says what to do
    )
    return Server(client, url=url, timeout=timeout)


class QdrantIndex:
    """`Index` on a Qdrant server. Any number of processes may work on the same collections."""

    def __init__(
        self,
        server: Server,
        *,
        dim: int,
        prefix: str = "",
        layout: Layout | None = None,
        versions: Mapping[str, int] | None = None,
    ) -> None:
        """Make an index; collections in `versions` go by that version, not by their alias."""
        self._server = server
        self._client = server.client
        self._dim = dim
        self._prefix = prefix
        self._layout = layout or Layout()
        self._versions = versions or {}
        self._indexed: dict[str, set[str]] = {}
        """Payload indexes of each collection that was written to."""
        self._fields: dict[Scope, set[str]] = {}
        self._lengths: dict[Scope, Lengths] = {}

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
            mean = (await self._noted(scope, vectors)).mean
            for part in _slices(vectors, WRITE_SLICE):
                structs = [_struct(scope, point, mean) for point in part]
                await self._server.call(self._client.upsert, name, structs)
            moved = list({p.chunk.id: p.chunk for p in points if p.dense is None}.values())
            for chunks in _slices(moved, WRITE_SLICE):
                operations = [_rewriting(scope, chunk) for chunk in chunks]
                await self._server.call(self._client.batch_update_points, name, operations)
        except NotFoundError:  # someone removed the collection: the next write makes it anew
            self._indexed.pop(name, None)
            raise

    async def delete(self, scope: Scope, chunk_ids: Sequence[str]) -> None:
        """Removes chunks; unknown ids are ignored."""
        with contextlib.suppress(NotFoundError):
            for part in _slices(chunk_ids, PAGE):
                selected = models.FilterSelector(filter=_only(scope, _ids(scope, part)))
                await self._server.call(self._client.delete, self._name(scope.collection), selected)

    @contextlib.asynccontextmanager
    async def bulk_load(self, collection: str) -> AsyncIterator[None]:
        """No graph is built in this block; all of it is, in the background, when it ends.

        Searches scan what has no graph yet. A process that is killed within leaves building off:
        enter and leave once more.
        """
        await self._prepare(collection)
        await self._build_from(collection, kilobytes=0)
        try:
            yield
        finally:
            await self._build_from(collection, kilobytes=INDEXING_KB)

    async def maintain(self, scope: Scope) -> None:
        """Makes BM25 weights anew where their mean length is off. Searches and writes go on."""
        with contextlib.suppress(NotFoundError):
            mean = (await self._measured(scope)).mean
            bounds = (
                models.Range(lt=mean / (1 + MEAN_DRIFT)),
                models.Range(gt=mean * (1 + MEAN_DRIFT)),
            )
            off = [models.FieldCondition(key="mean", range=bound) for bound in bounds]
            drifted = _only(scope, models.Filter(should=off))
            async for records in self._pages(scope, drifted, ["length", "mean"], [SPARSE]):
                await self._reweigh(scope, records, mean)

    async def close(self) -> None:
        """Lets go of the connections, those of every `at` too."""
        await self._client.close()

    # Reading

    async def chunk_ids(self, scope: Scope, document_id: str | None) -> set[str]:
        """The ids of a document's chunks, or of all."""
        where = [] if document_id is None else [_equal("document_id", document_id)]
        with contextlib.suppress(NotFoundError):
            return {
                _turned(scope, record.id)
                async for records in self._pages(scope, _only(scope, *where), payload=False)
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
                where = _only(scope, _ids(scope, part))
                async for records in self._pages(scope, where, payload=shown):
                    for record in records:
                        chunk_id = _turned(scope, record.id)
                        found[chunk_id] = chunk_of(chunk_id, record.payload or {})
        return [found[i] for i in chunk_ids if i in found]

    async def holds(self, scope: Scope) -> bool:
        """Whether there is any chunk of the scope."""
        with contextlib.suppress(NotFoundError):
            async for records in self._pages(scope, _only(scope), payload=False, page=1):
                return bool(records)
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
            requests = [self._request(scope, leg) for leg in legs]
            ranked = await self._query(scope, requests)
        except NotFoundError:
            return [[] for _ in legs]
        return [
            sorted(
                (Match(_turned(scope, point.id), point.score) for point in points),
                key=lambda match: (-match.score, match.chunk_id),
            )
            for points in ranked
        ]

    async def idf(self, scope: Scope, terms: Sequence[int]) -> list[float]:
        """What the server weighs each term with: its best match's score by its stored weight."""
        requests = [
            models.QueryRequest(
                query=models.SparseVector(indices=[term], values=[1.0]),
                using=SPARSE,
                filter=_only(scope),
                params=_idf_of(scope),
                limit=1,
                with_vector=[SPARSE],
            )
            for term in terms
        ]
        try:
            count = await self._count(scope)
            ranked = await self._query(scope, requests) if count else [[] for _ in terms]
        except NotFoundError:
            return [0.0] * len(terms)
        unseen = bm25_idf(count, 0) if count else 0.0
        return [
            points[0].score / _weight(points[0], term) if points else unseen
            for term, points in zip(terms, ranked, strict=True)
        ]

    # Versions: `create_version`, fill `at` it, `switch`; later `drop_version` of the old one

    async def create_version(self, collection: str) -> int:
        """An empty version beside those there are; its number. Nothing reads it yet."""
        version = max(await self.versions(collection), default=0) + 1
        await self._create(collection, version)
        return version

    def at(self, collection: str, version: int) -> QdrantIndex:
        """This index, but for `collection` it reads and writes that version."""
        return QdrantIndex(
            self._server,
            dim=self._dim,
            prefix=self._prefix,
            layout=self._layout,
            versions={**self._versions, collection: version},
        )

    async def versions(self, collection: str) -> list[int]:
        """The versions that are stored, in order."""
        stem = self._physical(collection, "")
        held = (await self._server.call(self._client.get_collections)).collections
        found = [c.name.removeprefix(stem) for c in held if c.name.startswith(stem)]
        return sorted(int(number) for number in found if number.isdecimal())

    async def current_version(self, collection: str) -> int | None:
        """The version that is read and written; None where the collection was never made."""
        alias, stem = self._alias(collection), self._physical(collection, "")
        for each in (await self._server.call(self._client.get_aliases)).aliases:
            if each.alias_name == alias:
                return int(each.collection_name.removeprefix(stem))
        return None

    async def switch(self, collection: str, version: int) -> int | None:
        """Makes a version the current one in one atomic step; the one before, for a way back.

        Raises:
            NotFoundError: there is no such version.
        """
        before = await self.current_version(collection)
        alias, physical = self._alias(collection), self._physical(collection, version)
        create = models.CreateAlias(collection_name=physical, alias_name=alias)
        steps: list[Any] = [models.CreateAliasOperation(create_alias=create)]
        if before is not None:
            delete = models.DeleteAlias(alias_name=alias)
            steps.insert(0, models.DeleteAliasOperation(delete_alias=delete))
        await self._server.call(self._client.update_collection_aliases, steps)
        self._forget(collection)
        return before

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
        return f"{self._alias(collection)}.v{version}"

    def _name(self, collection: str) -> str:
        version = self._versions.get(collection)
        return self._alias(collection) if version is None else self._physical(collection, version)

    def _forget(self, collection: str) -> None:
        self._indexed.pop(self._name(collection), None)
        for known in (self._fields, self._lengths):
            for scope in [scope for scope in known if scope.collection == collection]:
                known.pop(scope)

    # Collections

    async def _prepare(self, collection: str) -> None:
        """Makes sure that the collection is there and fits, once in a process."""
        name = self._name(collection)
        if name in self._indexed:
            return
        try:
            info = await self._server.call(self._client.get_collection, name)
        except NotFoundError:
            if collection in self._versions:
                raise
            await self._create(collection, 1)
            await self.switch(collection, 1)
            info = await self._server.call(self._client.get_collection, name)
        vectors: Any = info.config.params.vectors
        if vectors[DENSE].size != self._dim:
            raise ConfigError(
                f"The collection {name!r} was made with vectors of {vectors[DENSE].size} numbers,"
                f" and the embedder's have {self._dim}: use the model it was made with, or ingest"
                " into a new collection."
            )
        self._indexed[name] = set(info.payload_schema)
        for (
            path,
            schema,
        ) in _INDEXES.items():  # again, should the one who made it not have come to it
            await self._index_field(name, path, schema)

    async def _create(self, collection: str, version: int) -> None:
        layout = self._layout
        memory = models.Memory.COLD if layout.on_disk else None
        with _already_there():  # another worker was faster
            await self._server.call(
                self._client.create_collection,
                self._physical(collection, version),
                vectors_config={
                    DENSE: models.VectorParams(
                        size=self._dim, distance=models.Distance.DOT, memory=memory
                    )
                },
                sparse_vectors_config={
                    SPARSE: models.SparseVectorParams(
                        modifier=models.Modifier.IDF, index=models.SparseIndexParams(memory=memory)
                    )
                },
                # Every search is within a tenant: a graph for each, none across them.
                hnsw_config=models.HnswConfigDiff(
                    m=0,
                    payload_m=layout.hnsw_m,
                    ef_construct=layout.hnsw_ef_construct,
                    memory=memory,
                ),
                quantization_config=_quantization() if layout.quantization == "int8" else None,
                optimizers_config=models.OptimizersConfigDiff(indexing_threshold=INDEXING_KB),
                shard_number=layout.shards,
                replication_factor=layout.replicas,
            )

    async def _build_from(self, collection: str, *, kilobytes: int) -> None:
        await self._server.call(
            self._client.update_collection,
            self._name(collection),
            optimizers_config=models.OptimizersConfigDiff(indexing_threshold=kilobytes),
        )

    async def _index_field(
        self,
        name: str,
        path: str,
        schema: models.PayloadSchemaType | models.KeywordIndexParams,
    ) -> None:
        if path not in self._indexed[name]:
            await self._server.call(self._client.create_payload_index, name, path, schema)
            self._indexed[name].add(path)

    # Fields

    async def _admit(self, scope: Scope, points: Sequence[Point]) -> None:
        """Takes note of the points' meta fields and has them indexed."""
        kinds = field_kinds(point.chunk.meta for point in points)
        fields = {field for field, _ in kinds}
        if not fields <= self._fields.get(scope, set()):
            known = await self._known_fields(scope)
            if len(known | fields) > MAX_FIELDS + len(OWN_FIELDS):
                raise InputError(
                    f"The collection has {len(known) - len(OWN_FIELDS)} meta fields and cannot take"
                    f" {', '.join(sorted(fields - known))} besides ({MAX_FIELDS} at most): put"
                    " rarely used values into one field.",
                    code="too_many_fields",
                )
        name = self._name(scope.collection)
        for field, kind in kinds:
            if len(self._indexed[name]) < MAX_FIELDS:
                await self._index_field(name, path_of(field, kind), _SCHEMA[kind])

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
        response = await self._server.call(
            self._client.facet,
            self._name(scope.collection),
            "fields",
            _only(scope),
            limit=2 * MAX_FIELDS,  # several who write at once may pass the bound a little
            exact=True,
        )
        self._fields[scope] = {str(hit.value) for hit in response.hits}
        return self._fields[scope]

    # Lengths

    async def _noted(self, scope: Scope, points: Sequence[Point]) -> Lengths:
        """The scope's lengths with these points', measured with the first write of a process."""
        lengths = self._lengths.get(scope) or await self._measured(scope)
        lengths.points += len(points)
        lengths.terms += sum(_length(point.sparse) for point in points)
        return lengths

    async def _measured(self, scope: Scope) -> Lengths:
        """The lengths as a sample has them: exact where the scope is no larger than it."""
        sample = models.QueryRequest(
            query=models.SampleQuery(sample=models.Sample.RANDOM),
            filter=_only(scope),
            limit=SAMPLE,
            with_payload=["length"],
        )
        count, [points] = await asyncio.gather(self._count(scope), self._query(scope, [sample]))
        terms = sum((point.payload or {})["length"] for point in points)
        share = len(points) / count if count and points else 1.0
        self._lengths[scope] = Lengths(points=len(points) / share, terms=terms / share)
        return self._lengths[scope]

    async def _reweigh(self, scope: Scope, records: Sequence[models.Record], mean: float) -> None:
        """Makes these points' weights with `mean`, but for those that someone wrote meanwhile.

        The mean is written first, and only over the one that was read; the weights follow where
        that went through. Between the two a point is as far off as it was, never wrong.
        """
        by_mean: dict[float, list[models.Record]] = {}
        for record in records:
            by_mean.setdefault((record.payload or {})["mean"], []).append(record)
        operations: list[Any] = []
        for old, group in by_mean.items():
            ids = models.HasIdCondition(has_id=[record.id for record in group])
            marked = models.SetPayload(payload={"mean": mean}, filter=_only(scope, ids, _mean(old)))
            vectors = [_reweighed(record, mean) for record in group]
            update = models.UpdateVectors(points=vectors, update_filter=_only(scope, _mean(mean)))
            operations += [
                models.SetPayloadOperation(set_payload=marked),
                models.UpdateVectorsOperation(update_vectors=update),
            ]
        with contextlib.suppress(NotFoundError):  # a point was deleted; the others are written
            name = self._name(scope.collection)
            await self._server.call(self._client.batch_update_points, name, operations)

    # Requests

    def _request(self, scope: Scope, leg: Leg) -> models.QueryRequest:
        where = _only(scope, *map(_any, leg.where))
        if isinstance(leg.vector, SparseVector):
            query: Any = models.SparseVector(
                indices=leg.vector.indices.tolist(), values=leg.vector.values.tolist()
            )
            params = _idf_of(scope)
        else:
            query = leg.vector.tolist()
            params = None if self._layout.quantization == "none" else _rescored()
        return models.QueryRequest(
            query=query,
            using=leg.name,
            filter=where,
            params=params,
            limit=leg.limit,
            with_payload=False,
        )

    async def _query(
        self, scope: Scope, requests: Sequence[models.QueryRequest]
    ) -> list[list[models.ScoredPoint]]:
        if not requests:
            return []
        responses = await self._server.call(
            self._client.query_batch_points, self._name(scope.collection), requests
        )
        return [response.points for response in responses]

    async def _count(self, scope: Scope) -> int:
        name = self._name(scope.collection)
        return (await self._server.call(self._client.count, name, _only(scope))).count

    async def _pages(
        self,
        scope: Scope,
        where: models.Filter,
        payload: bool | list[str] | models.PayloadSelectorExclude,
        vectors: bool | list[str] = False,  # noqa: FBT002
        page: int = PAGE,
    ) -> AsyncIterator[list[models.Record]]:
        offset: Any = None
        while True:
            records, offset = await self._server.call(
                self._client.scroll,
                self._name(scope.collection),
                scroll_filter=where,
                limit=page,
                offset=offset,
                with_payload=payload,
                with_vectors=vectors,
            )
            yield records
            if offset is None:
                return


# What is sent


def _struct(scope: Scope, point: Point, mean: float) -> models.PointStruct:
    if point.dense is None or point.sparse is None:
        raise ValueError("a point has both vectors or neither")
    weights = bm25_weights(point.sparse, mean_length=mean)
    own = {"tenant": scope.tenant, "length": _length(point.sparse), "mean": mean}
    return models.PointStruct(
        id=_turned(scope, point.chunk.id),
        vector={
            DENSE: point.dense.tolist(),
            SPARSE: models.SparseVector(
                indices=point.sparse.indices.tolist(), values=weights.tolist()
            ),
        },
        payload=_payload(point.chunk) | own,
    )


def _rewriting(scope: Scope, chunk: Chunk) -> models.SetPayloadOperation:
    """A new payload for a point; by a filter, which ignores one that is not there."""
    where = _only(scope, _ids(scope, [chunk.id]))
    return models.SetPayloadOperation(
        set_payload=models.SetPayload(payload=_payload(chunk), filter=where)
    )


def _payload(chunk: Chunk) -> dict[str, Any]:
    fields = {field for field, _ in field_kinds([chunk.meta])}
    return payload_of(chunk) | {"fields": sorted({*OWN_FIELDS, *fields})}


def _reweighed(record: models.Record, mean: float) -> models.PointVectors:
    payload, stored = record.payload or {}, _sparse(record)
    weights = SparseVector(
        indices=np.array(stored.indices, np.int32), values=np.array(stored.values, np.float32)
    )
    new = reweigh(weights, length=payload["length"], old_mean=payload["mean"], new_mean=mean)
    sparse = models.SparseVector(indices=new.indices.tolist(), values=new.values.tolist())
    return models.PointVectors(id=record.id, vector={SPARSE: sparse})


def _sparse(record: models.Record | models.ScoredPoint) -> models.SparseVector:
    vector: Any = record.vector
    sparse: models.SparseVector = vector[SPARSE]
    return sparse


def _weight(point: models.ScoredPoint, term: int) -> float:
    sparse = _sparse(point)
    return float(sparse.values[sparse.indices.index(term)])


def _length(sparse: SparseVector | None) -> int:
    return 0 if sparse is None else int(sparse.values.sum())


def _turned(scope: Scope, id_: Any) -> str:
    """A chunk's id as its point's, or the reverse."""
    return str(uuid.UUID(int=uuid.UUID(str(id_)).int ^ uuid.uuid5(_TENANTS, scope.tenant).int))


def _slices(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    return (items[i : i + size] for i in range(0, len(items), size))


def _quantization() -> models.ScalarQuantization:
    # Few components of a unit vector are large: cutting off one in a hundred spends the 256 steps
    # on the others.
    return models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(
            type=models.ScalarType.INT8, quantile=0.99, memory=models.Memory.PINNED
        )
    )


def _rescored() -> models.SearchParams:
    return models.SearchParams(quantization=models.QuantizationSearchParams(rescore=True))


def _idf_of(scope: Scope) -> models.SearchParams:
    return models.SearchParams(idf=models.IdfCorpusParams(corpus=_only(scope)))


# Filters


def _only(scope: Scope, *conditions: Any) -> models.Filter:
    return models.Filter(must=[_equal("tenant", scope.tenant), *conditions])


def _ids(scope: Scope, chunk_ids: Sequence[str]) -> models.HasIdCondition:
    return models.HasIdCondition(has_id=[_turned(scope, chunk_id) for chunk_id in chunk_ids])


def _equal(path: str, word: str) -> models.FieldCondition:
    return models.FieldCondition(key=path, match=models.MatchValue(value=word))


def _mean(mean: float) -> models.FieldCondition:
    return models.FieldCondition(key="mean", range=models.Range(gte=mean, lte=mean))


def _any(condition: Condition) -> models.Filter:
    nothing = models.HasIdCondition(has_id=[])  # no condition at all would hold for every chunk
    return models.Filter(should=[*map(_condition, tests(condition)), nothing])


def _condition(test: Test) -> models.FieldCondition:
    if isinstance(test, Equals):
        return _equal(test.path, test.word)
    bounds: dict[str, Any] = dict(test.bounds)
    if test.kind == "number":
        return models.FieldCondition(key=test.path, range=models.Range(**bounds))
    moments = {op: _moment(value) for op, value in bounds.items()}
    return models.FieldCondition(key=test.path, range=models.DatetimeRange(**moments))


def _moment(date: str) -> datetime:
    """Without a zone it is UTC, as the server reads what is stored."""
    moment = datetime.fromisoformat(date)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


# Errors

_HTTP = {
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.FAILED_PRECONDITION: 400,
    StatusCode.OUT_OF_RANGE: 400,
    StatusCode.UNAUTHENTICATED: 401,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.DEADLINE_EXCEEDED: 504,
}


def _failure(error: BaseException) -> tuple[int | None, str]:
    """A failure of the client as an HTTP status and its cause; None where it is none of those."""
    match error:
        case TimeoutError():
            return 504, "no answer"
        case ResourceExhaustedResponse():
            return 429, str(error)
        case ResponseHandlingException():
            cause = error.source
            slow = "Timeout" in type(cause).__name__
            return 504 if slow else 503, str(cause) or type(cause).__name__
        case UnexpectedResponse():
            text = error.content.decode(errors="replace")[:500]
            return _kind(error.status_code or 502, text), text or error.reason_phrase
        case AioRpcError():
            text = error.details() or error.code().name
            return _kind(_HTTP.get(error.code(), 500), text), text
        case ValueError() | KeyError():  # local mode
            known = "already exists" in str(error) or "not found" in str(error)
            missing = isinstance(error, KeyError)
            text = f"no point with id {error}" if missing else str(error)
            return (_kind(404, text) if known or missing else None), text
        case _:
            return 500, str(error)


def _kind(status: int, text: str) -> int:
    """What is there already is 400 or 409, as the request and the server's version have it."""
    return 409 if "already exists" in text else status


@contextlib.contextmanager
def _already_there() -> Iterator[None]:
    try:
        yield
    except StorageError as error:
        if error.code != "exists":
            raise
