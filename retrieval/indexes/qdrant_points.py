"""Collections, points, queries and filters of a Qdrant server. No calls are made here."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from qdrant_client import models

from rag.types import Condition, Float32Array, Leg, Point, Scope, SparseVector
from rag.types.acl import Readers
from retrieval.bm25 import TIES, bm25_weights, reweigh
from retrieval.indexes.filters import Clause, OneOf, clauses
from retrieval.indexes.payload import (
    ACL,
    OWN_FIELDS,
    FieldType,
    field_kinds,
    path_of,
    payload_of,
)
from retrieval.memo import Memo

DENSE, SPARSE, TOKENS = "dense", "sparse", "tokens"
INDEXING_KB = 10_000
"""KB of vectors in a segment from which its graph is built: Qdrant's default."""
ShardKey = str | models.ShardKeyWithFallback | None
"""The value that selects a tenant's shard."""
Schema = (
    models.KeywordIndexParams
    | models.IntegerIndexParams
    | models.FloatIndexParams
    | models.DatetimeIndexParams
)
_KEYWORD = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, enable_hnsw=False)
_FLOAT = models.FloatIndexParams(type=models.FloatIndexType.FLOAT, enable_hnsw=False)
_DATETIME = models.DatetimeIndexParams(type=models.DatetimeIndexType.DATETIME, enable_hnsw=False)
SCHEMA: dict[FieldType, Schema] = {
    "keyword": _KEYWORD,
    "flag": _KEYWORD,
    "number": _FLOAT,
    "date": _DATETIME,
}
"""Payload indexes by kind of value, without a part of the graph: each would cost as much as all of
the graph, and a search with `_ACORN` needs none."""
INDEXES: dict[str, Schema] = {
    "tenant": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
    ACL: _KEYWORD,
    "fields": _KEYWORD,
    "length": models.IntegerIndexParams(
        type=models.IntegerIndexType.INTEGER, lookup=True, range=False, enable_hnsw=False
    ),
    "mean": _FLOAT,
    **{path_of(field, kind): SCHEMA[kind] for field, kind in OWN_FIELDS.items()},
}
"""The payload indexes that every collection has. The tenant's has links in the graph."""
_ACORN = models.AcornSearchParams(enable=True, max_selectivity=1.0)
"""The graph search continues through neighbours that do not meet the filter: Patel et al. 2024,
https://arxiv.org/abs/2403.04871. Also if the filter is the tenant's alone: a tenant with a quarter
of the points has no links of its own."""
_INT8 = models.ScalarQuantization(
    scalar=models.ScalarQuantizationConfig(
        type=models.ScalarType.INT8, quantile=0.99, memory=models.Memory.PINNED
    )
)
"""The largest hundredth of the components is cut off, so that the 256 steps cover the others."""
_RESCORED = models.QuantizationSearchParams(rescore=True)
TOKENS_ON_DISK = {
    TOKENS: models.VectorParamsDiff(
        hnsw_config=models.HnswConfigDiff(m=0, payload_m=0),
        quantization_config=models.Disabled.DISABLED,
        memory=models.Memory.COLD,
    )
}
"""Token vectors are compared with few candidates: a graph of them would cost much without use."""
NO_CHUNK = (ACL, "where", "fields", "tenant", "length", "mean")
"""Fields of a point's payload that do not belong to its chunk: filters and weights need them."""
TENANTS_KEPT = 1_024
"""Tenants for which the parts common to all their searches are cached."""
REWEIGHED = 32
"""Points in one update of vectors: the server's own batch, which it completes before it reports
that a point is gone."""
_TENANTS = uuid.UUID("a25d5b8f-7c0b-4c9e-9a53-30a2f2f4a6d1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The layout of a new collection; an existing one keeps the layout it was made with."""

    shards: int = 1
    replicas: int = 1
    hnsw_m: int = 16
    hnsw_ef_construct: int = 100
    on_disk: bool = False
    quantization: Literal["none", "int8"] = "none"


def collection_options(layout: Layout, *, dim: int) -> dict[str, Any]:
    """Returns the arguments of `create_collection`; with several shards, each has a shard key."""
    custom = layout.shards > 1
    memory = models.Memory.COLD if layout.on_disk else None
    return {
        "vectors_config": {
            DENSE: models.VectorParams(size=dim, distance=models.Distance.DOT, memory=memory)
        },
        "sparse_vectors_config": {
            SPARSE: models.SparseVectorParams(
                modifier=models.Modifier.IDF, index=models.SparseIndexParams(memory=memory)
            )
        },
        # One graph across tenants (m), and links among a tenant's own (payload_m). Without the one
        # across them, a search begins at one point of the tenant, and finds nothing where that does
        # not meet a filter (Qdrant 1.19).
        "hnsw_config": models.HnswConfigDiff(
            m=layout.hnsw_m,
            payload_m=layout.hnsw_m,
            ef_construct=layout.hnsw_ef_construct,
            memory=memory,
        ),
        "quantization_config": _INT8 if layout.quantization == "int8" else None,
        "optimizers_config": models.OptimizersConfigDiff(indexing_threshold=INDEXING_KB),
        "shard_number": 1,
        "sharding_method": models.ShardingMethod.CUSTOM if custom else None,
        "replication_factor": layout.replicas,
    }


def tokens_field(*, dim: int) -> models.DenseVectorNameConfig:
    """Returns the argument of `create_vector_name`."""
    return models.DenseVectorNameConfig(
        dense=models.DenseVectorConfig(
            size=dim,
            distance=models.Distance.DOT,
            multivector_config=models.MultiVectorConfig(
                comparator=models.MultiVectorComparator.MAX_SIM
            ),
            datatype=models.VectorStorageDatatype.TURBO4,
        )
    )


def turned(scope: Scope, id_: models.ExtendedPointId) -> str:
    """Converts a chunk's id to its point's id in this tenant, or the reverse."""
    return _TURNED[scope.tenant, str(id_)]


def _turned(of_tenant: tuple[str, str]) -> str:
    """Returns the other id of a tenant's id; no UUID object is made of it, which takes longer."""
    tenant, id_ = of_tenant
    digits = f"{int(id_.replace('-', ''), 16) ^ _key_of(tenant):032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


_TURNED: Memo[tuple[str, str], str] = Memo(_turned, most=20_000)
"""Ids by tenant and id: a search has two hundred matches, and waits for them. 20,000 take 5 MB."""


@lru_cache(TENANTS_KEPT)
def _key_of(tenant: str) -> int:
    return uuid.uuid5(_TENANTS, tenant).int


def point_of(scope: Scope, point: Point, mean: float) -> models.PointStruct:
    """Returns a point as it is stored, with weights for this mean length."""
    if point.dense is None or point.sparse is None:
        raise ValueError("a point has both vectors or neither")
    weights = bm25_weights(point.sparse, mean_length=mean)
    own = {"tenant": scope.tenant, "length": length_of(point), "mean": mean}
    vector: dict[str, Any] = {
        DENSE: point.dense.tolist(),
        SPARSE: _sparse(SparseVector(indices=point.sparse.indices, values=weights)),
    }
    if point.tokens is not None:
        vector[TOKENS] = point.tokens.tolist()
    payload = _payload(point) | own
    return models.PointStruct(id=turned(scope, point.chunk.id), vector=vector, payload=payload)


def rewriting(scope: Scope, points: Sequence[Point], key: ShardKey) -> list[Any]:
    """Returns new payloads for points; by filters, which ignore missing points."""
    wheres = [of(scope, has_ids(scope, [point.chunk.id])) for point in points]
    return [
        models.SetPayloadOperation(
            set_payload=models.SetPayload(payload=_payload(point), filter=where, shard_key=key)
        )
        for point, where in zip(points, wheres, strict=True)
    ]


def permitting(where: models.Filter, acl: Readers, key: ShardKey) -> list[Any]:
    """Returns the operation that replaces the ACL of the points that meet a condition."""
    payload = models.SetPayload(payload={ACL: sorted(acl)}, filter=where, shard_key=key)
    return [models.SetPayloadOperation(set_payload=payload)]


def _reweighed(record: models.Record, mean: float) -> models.PointVectors:
    """Returns a stored point's weights for this mean length."""
    payload, stored = record.payload or {}, _stored(record)
    weights = SparseVector(
        indices=np.array(stored.indices, np.int32), values=np.array(stored.values, np.float32)
    )
    new = reweigh(weights, length=payload["length"], old_mean=payload["mean"], new_mean=mean)
    return models.PointVectors(id=record.id, vector={SPARSE: _sparse(new)})


def reweighing(
    scope: Scope, records: Sequence[models.Record], mean: float, key: ShardKey
) -> list[Any]:
    """Returns operations that give these points the weights for `mean`.

    They come in pairs, each for at most `REWEIGHED` points of one mean: the first marks the points
    that still have it, the second writes the weights of the marked ones.
    """
    by_mean: dict[float, list[models.Record]] = {}
    for record in records:
        by_mean.setdefault((record.payload or {})["mean"], []).append(record)
    operations: list[Any] = []
    parts = (
        (old, group[i : i + REWEIGHED])
        for old, group in by_mean.items()
        for i in range(0, len(group), REWEIGHED)
    )
    for old, group in parts:
        ids = models.HasIdCondition(has_id=[record.id for record in group])
        marked = models.SetPayload(
            payload={"mean": mean}, filter=of(scope, ids, has_mean(old)), shard_key=key
        )
        update = models.UpdateVectors(
            points=[_reweighed(record, mean) for record in group],
            update_filter=of(scope, has_mean(mean)),
            shard_key=key,
        )
        operations += [
            models.SetPayloadOperation(set_payload=marked),
            models.UpdateVectorsOperation(update_vectors=update),
        ]
    return operations


def length_of(point: Point) -> int:
    """Returns the number of terms in a point."""
    return 0 if point.sparse is None else int(point.sparse.values.sum())


def weight_of(point: models.ScoredPoint, term: int) -> float:
    """Returns the stored weight of one of a point's terms."""
    sparse = _stored(point)
    return float(sparse.values[sparse.indices.index(term)])


def query_of(scope: Scope, leg: Leg, *, rescore: bool) -> models.QueryRequest:
    """Returns a leg's request; `rescore`: quantized candidates are rescored with full vectors."""
    query: Any
    limit = leg.limit
    if isinstance(leg.vector, SparseVector):
        query, params, limit = _sparse(leg.vector), idf_of(scope), limit + TIES
    else:
        query, params = leg.vector.tolist(), graph_of(exact=leg.exact, rescore=rescore)
    return models.QueryRequest(
        query=query,
        using=leg.name,
        filter=of(scope, *map(fitting, leg.where)),
        params=params,
        limit=limit,
        with_payload=False,
    )


def graph_of(*, exact: bool, rescore: bool) -> models.SearchParams:
    """Returns parameters of a graph search; `rescore`: quantized matches are rescored in full."""
    quantization = _RESCORED if rescore else None
    return models.SearchParams(exact=exact, acorn=_ACORN, quantization=quantization)


def term_query(scope: Scope, term: int) -> models.QueryRequest:
    """Returns the request for the best match of one term, with its weights."""
    return models.QueryRequest(
        query=models.SparseVector(indices=[term], values=[1.0]),
        using=SPARSE,
        filter=of(scope),
        params=idf_of(scope),
        limit=1,
        with_payload=False,
        with_vector=[SPARSE],
    )


def max_sim_query(
    scope: Scope, question: Float32Array, chunk_ids: Sequence[str]
) -> models.QueryRequest:
    """Returns the request for late interaction with all of these chunks."""
    return models.QueryRequest(
        query=question.tolist(),
        using=TOKENS,
        filter=of(scope, has_ids(scope, chunk_ids)),
        limit=len(chunk_ids),
        with_payload=False,
    )


def has_tokens(scope: Scope, chunk_ids: Sequence[str]) -> models.Filter:
    """Selects those of these chunks with stored token vectors; also valid if no chunk has any."""
    stored = models.HasVectorCondition(has_vector=TOKENS)
    return of(scope, has_ids(scope, chunk_ids), stored)


def of(scope: Scope, *conditions: Any) -> models.Filter:
    """Selects the tenant's points that meet all these conditions and that the readers may read."""
    must = [equal("tenant", scope.tenant), *conditions]
    if scope.readers is not None:
        must.append(one_of(ACL, sorted(scope.readers)))
    return models.Filter(must=must)


def with_tokens(scope: Scope) -> models.Filter:
    """Selects the tenant's points with stored token vectors."""
    return of(scope, models.HasVectorCondition(has_vector=TOKENS))


def vectors_of(record: models.Record) -> dict[str, Any]:
    """Returns the vectors of a point that was read with all of them, by name."""
    vectors: Any = record.vector
    return dict(vectors)


def has_ids(scope: Scope, chunk_ids: Sequence[str]) -> models.HasIdCondition:
    """Selects the points of these chunks."""
    return models.HasIdCondition(has_id=[turned(scope, chunk_id) for chunk_id in chunk_ids])


def equal(path: str, word: str) -> models.FieldCondition:
    """Selects the points that have this word at the path."""
    return models.FieldCondition(key=path, match=models.MatchValue(value=word))


def one_of(path: str, words: Sequence[str]) -> models.FieldCondition:
    """Selects the points that have one of these words at the path."""
    return models.FieldCondition(key=path, match=models.MatchAny(any=list(words)))


def has_mean(mean: float) -> models.FieldCondition:
    """Selects the points whose weights were made with exactly this mean length."""
    return models.FieldCondition(key="mean", range=models.Range(gte=mean, lte=mean))


def _payload(point: Point) -> dict[str, Any]:
    fields = {field for field, _ in field_kinds([point.chunk.meta])}
    return payload_of(point) | {"fields": sorted({*OWN_FIELDS, *fields})}


def _sparse(vector: SparseVector) -> models.SparseVector:
    return models.SparseVector(indices=vector.indices.tolist(), values=vector.values.tolist())


def _stored(point: models.Record | models.ScoredPoint) -> models.SparseVector:
    vector: Any = point.vector
    sparse: models.SparseVector = vector[SPARSE]
    return sparse


def idf_of(scope: Scope) -> models.SearchParams:
    """Returns search parameters that count IDF over the chunks that the readers may read."""
    return models.SearchParams(idf=models.IdfCorpusParams(corpus=of(scope)))


def fitting(condition: Condition) -> models.Filter:
    """Selects the points that meet a question's condition."""
    alternatives = clauses(condition)
    if not alternatives:  # an empty filter would match every chunk
        return models.Filter(should=[models.HasIdCondition(has_id=[])])
    return models.Filter(should=[_condition(clause) for clause in alternatives])


def _condition(clause: Clause) -> models.FieldCondition:
    if isinstance(clause, OneOf):
        return one_of(clause.path, clause.words)
    bounds: dict[str, Any] = dict(clause.bounds)
    if clause.kind == "number":
        return models.FieldCondition(key=clause.path, range=models.Range(**bounds))
    return models.FieldCondition(key=clause.path, range=models.DatetimeRange(**bounds))
