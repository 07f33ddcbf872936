"""Requests of questions to a Qdrant server, in gRPC's own messages.

The client would convert answers to models, and models of requests to messages: more work for this
process than the rest of a search.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
from qdrant_client import AsyncQdrantClient
from qdrant_client import grpc as wire
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc

from rag.types import Chunk, Float32Array, Leg, Match, Scope, SparseVector
from retrieval.bm25 import TIES
from retrieval.indexes.payload import ACL, chunk_of
from retrieval.indexes.qdrant_points import (
    DENSE,
    NO_CHUNK,
    TENANTS_KEPT,
    TOKENS,
    fitting,
    graph_of,
    idf_of,
    of,
    turned,
)
from retrieval.indexes.qdrant_server import Server
from retrieval.indexes.qdrant_shards import Placement

_NO_PAYLOAD = wire.WithPayloadSelector(enable=False)
_NO_VECTORS = wire.WithVectorsSelector(enable=False)
_CHUNK = wire.WithPayloadSelector(exclude=wire.PayloadExcludeSelector(fields=NO_CHUNK))
_DENSE = wire.WithVectorsSelector(include=wire.VectorsSelector(names=[DENSE]))


class WireCalls:
    """`Calls` with the stubs of the client's channels."""

    def __init__(self, server: Server) -> None:
        """Take a server, which the caller closes."""
        self._server = server

    async def search(
        self, name: str, scope: Scope, legs: Sequence[Leg], place: Placement, *, rescore: bool
    ) -> list[list[Match]]:
        """Returns the matches of each leg."""
        queries = [_query_of(name, scope, leg, place, rescore=rescore) for leg in legs]
        return await self._ranked(name, scope, queries)

    async def max_sim(
        self,
        name: str,
        scope: Scope,
        question: Float32Array,
        chunk_ids: Sequence[str],
        place: Placement,
    ) -> list[Match]:
        """Scores all of these chunks by late interaction."""
        rows = [wire.DenseVector(data=row) for row in question.tolist()]
        query = wire.QueryPoints(
            **_of(name, scope, place, _these(scope, chunk_ids)),
            query=_nearest(multi_dense=wire.MultiDenseVector(vectors=rows)),
            using=TOKENS,
            limit=len(chunk_ids),
            with_payload=_NO_PAYLOAD,
        )
        [matches] = await self._ranked(name, scope, [query])
        return matches

    async def chunks(
        self, name: str, scope: Scope, chunk_ids: Sequence[str], place: Placement
    ) -> list[Chunk]:
        """Returns those of these chunks that exist."""
        points = await self._points(name, scope, chunk_ids, place, payload=_CHUNK)
        return [
            chunk_of(turned(scope, point.id.uuid), GrpcToRest.convert_payload(point.payload))
            for point in points
        ]

    async def vectors(
        self, name: str, scope: Scope, chunk_ids: Sequence[str], place: Placement
    ) -> dict[str, Float32Array]:
        """Returns the dense vectors of these chunks, by id."""
        points = await self._points(name, scope, chunk_ids, place, vectors=_DENSE)
        return {turned(scope, point.id.uuid): _dense(point) for point in points}

    async def _ranked(
        self, name: str, scope: Scope, queries: Sequence[wire.QueryPoints]
    ) -> list[list[Match]]:
        batch = wire.QueryBatchPoints(collection_name=name, query_points=queries)
        response = await self._sent("QueryBatch", batch)
        return [
            [Match(turned(scope, point.id.uuid), point.score) for point in each.result]
            for each in response.result
        ]

    async def _points(
        self,
        name: str,
        scope: Scope,
        chunk_ids: Sequence[str],
        place: Placement,
        *,
        payload: wire.WithPayloadSelector = _NO_PAYLOAD,
        vectors: wire.WithVectorsSelector = _NO_VECTORS,
    ) -> Iterable[wire.RetrievedPoint]:
        scroll = wire.ScrollPoints(
            **_of(name, scope, place, _these(scope, chunk_ids)),
            limit=len(chunk_ids),
            with_payload=payload,
            with_vectors=vectors,
        )
        points: Iterable[wire.RetrievedPoint]
        points = (await self._sent("Scroll", scroll)).result
        return points

    async def _sent(self, method: str, message: Any) -> Any:
        """Returns the answer of the first node that gives one."""

        async def sent(client: AsyncQdrantClient) -> Any:
            stub = getattr(client.grpc_points, method)
            return await stub(message, timeout=client.init_options["timeout"])

        return await self._server.request(sent, read=True)


def _of(name: str, scope: Scope, place: Placement, *conditions: wire.Condition) -> dict[str, Any]:
    """Returns a request's collection, shard and filter: the tenant's points under conditions."""
    mine = _tenants(scope.whole).must
    return {
        "collection_name": name,
        "shard_key_selector": place.key and RestToGrpc.convert_shard_key_selector(place.key),
        "filter": wire.Filter(must=[*mine, *_readable(scope), *conditions]),
    }


def _readable(scope: Scope) -> list[wire.Condition]:
    """Returns the condition that the scope's readers may read a point; none without readers."""
    if scope.readers is None:
        return []
    words = wire.RepeatedStrings(strings=sorted(scope.readers))
    field = wire.FieldCondition(key=ACL, match=wire.Match(keywords=words))
    return [wire.Condition(field=field)]


def _query_of(
    name: str, scope: Scope, leg: Leg, place: Placement, *, rescore: bool
) -> wire.QueryPoints:
    limit = leg.limit
    if isinstance(leg.vector, SparseVector):
        indices, values = leg.vector.indices.tolist(), leg.vector.values.tolist()
        query = _nearest(sparse=wire.SparseVector(indices=indices, values=values))
        limit += TIES
        params = _idf_of(scope, place)
    else:
        query = _nearest(dense=wire.DenseVector(data=leg.vector.tolist()))
        params = _graph_of(exact=leg.exact, rescore=rescore)
    where = [RestToGrpc.convert_condition(fitting(condition)) for condition in leg.where]
    return wire.QueryPoints(
        **_of(name, scope, place, *where),
        query=query,
        using=leg.name,
        params=params,
        limit=limit,
        with_payload=_NO_PAYLOAD,
    )


def _nearest(**vector: Any) -> wire.Query:
    return wire.Query(nearest=wire.VectorInput(**vector))


# Nobody may change these messages: they are copied into others.


@lru_cache(TENANTS_KEPT)
def _tenants(scope: Scope) -> wire.Filter:
    return RestToGrpc.convert_filter(of(scope))


@cache
def _graph_of(*, exact: bool, rescore: bool) -> wire.SearchParams:
    return RestToGrpc.convert_search_params(graph_of(exact=exact, rescore=rescore))


def _idf_of(scope: Scope, place: Placement) -> wire.SearchParams | None:
    if scope.readers is not None:
        return RestToGrpc.convert_search_params(idf_of(scope))
    return None if place.own else _idf_of_all(scope)  # the shard is the tenant's alone


@lru_cache(TENANTS_KEPT)
def _idf_of_all(scope: Scope) -> wire.SearchParams:
    return RestToGrpc.convert_search_params(idf_of(scope))


def _these(scope: Scope, chunk_ids: Sequence[str]) -> wire.Condition:
    ids = [wire.PointId(uuid=turned(scope, chunk_id)) for chunk_id in chunk_ids]
    return wire.Condition(has_id=wire.HasIdCondition(has_id=ids))


def _dense(point: wire.RetrievedPoint) -> Float32Array:
    vectors: Any = GrpcToRest.convert_vectors_output(point.vectors)
    return np.array(vectors[DENSE], np.float32)
