"""Layout, points and queries of a Qdrant Edge shard. No calls are made here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import qdrant_edge as qe

from rag.types import Float32Array, Leg, Point, SparseVector
from rag.types.acl import Readers
from retrieval.bm25 import TIES, bm25_weights, reweigh
from retrieval.indexes.filters import edge_corpus, edge_readable, to_edge
from retrieval.indexes.payload import FieldType, payload_of

DENSE, SPARSE, TOKENS = "dense", "sparse", "tokens"
TOKENS_TYPE = qe.VectorStorageDatatype.Turbo4  # type: ignore[attr-defined] # its stub forgets it
"""Half a byte for each number of a token vector: docs/reranking.md has the cost of other types."""
SCHEMA: dict[FieldType, qe.PayloadSchemaType] = {
    "keyword": qe.PayloadSchemaType.Keyword,
    "flag": qe.PayloadSchemaType.Keyword,
    "number": qe.PayloadSchemaType.Float,
    "date": qe.PayloadSchemaType.Datetime,
}
MAPPED: dict[FieldType, qe.KeywordIndexParams | qe.FloatIndexParams] = {
    "keyword": qe.KeywordIndexParams(memory=qe.Memory.Cached),
    "number": qe.FloatIndexParams(memory=qe.Memory.Cached),
}
"""Indexes of a chunk's own fields, such as `document_id`: mapped files, for few questions filter by
them, and in the process they take 90 bytes for each chunk. Those of the ACL and of users' fields
are in the process: a filter that keeps a tenth takes half as long."""
INDEXING_KB = 1_000
"""Kilobytes of vectors from which a rebuild makes a graph."""
FULL_SCAN_KB = 50_000
"""Kilobytes of vectors up to which those of a shard, or the ones that meet a filter, are compared
one by one: 33,333 vectors of 384 numbers. Quantized, that takes 0.3 ms of CPU without a filter and
2 ms with one, and misses none; the graph takes 3 ms where a filter keeps 30,000 of 100,000."""
LIVE = qe.SearchParams(idf=qe.IdfParams(corpus=qe.Filter()))
"""IDF over the existing points: without a corpus, Qdrant Edge also counts deleted and replaced
ones. It adds 0.3 ms of CPU to a search of 50,000 points, and 0.4 ms to one of 100,000."""
ACORN = qe.AcornSearchParams(enable=True, max_selectivity=1.0)
"""Under any filter the graph search continues through neighbours that do not meet it: Patel et al.
2024, https://arxiv.org/abs/2403.04871."""
HNSW_M, HNSW_EF_CONSTRUCT = 16, 200
"""Malkov & Yashunin 2016, https://arxiv.org/abs/1603.09320. With 100 candidates for each link in
place of 200, recall@10 of 50,000 chunks falls from 0.987 to 0.949 (200 candidates for each search).
More links bring nothing: most are pruned, and 32 take no more space than 16."""
EF = 800
"""Candidates of a graph search. Without a filter, recall@10 of 100,000 chunks is 0.998 in 0.5 ms of
CPU; half as many find 0.988 and save 0.1 ms. With a filter that keeps the half written first, or
last, it is 0.99 in 1.6 ms; 300 candidates find 0.958."""
QUANTIZED = qe.TurboQuantQuantizationConfig(
    bits=qe.TurboQuantBitSize.Bits4, memory=qe.Memory.Pinned
)
"""Half a byte for each number, in memory, is what a graph is built and searched with: half the time
of full vectors, and the same recall once the best are scored in full. Eight bits find no more."""
RESCORED = qe.QuantizationSearchParams(rescore=True, oversampling=1.5)
"""Half as many again as a search returns are scored with full vectors, which are read from their
file. Without the others, a leg of 100 misses 5 of its best 100; with twice as many, none of those
that were candidates, but at a million chunks a question reads a third more pages."""


def layout(*, dim: int | None) -> qe.EdgeConfig:
    """Returns the layout: dense vectors with HNSW, sparse ones with Qdrant's IDF.

    Without `dim` it is for an existing shard, whose vectors stay unchanged.
    """
    vectors = dim and {
        DENSE: qe.EdgeVectorParams(
            size=dim,
            distance=qe.Distance.Dot,
            hnsw_config=_hnsw(m=HNSW_M),
            quantization_config=QUANTIZED,
            memory=qe.Memory.Cold,  # searches read few: see `RESCORED`
        )
    }
    return qe.EdgeConfig(
        vectors=vectors or None,
        # For token vectors: they are compared with few candidates, and a graph of them costs much.
        hnsw_config=_hnsw(m=0),
        # Mapped, BM25 takes the same time, and the process 320 bytes less for each chunk.
        sparse_vectors={
            SPARSE: qe.EdgeSparseVectorParams(modifier=qe.Modifier.Idf, memory=qe.Memory.Cached)
        },
        optimizers=qe.EdgeOptimizersConfig(
            indexing_threshold=INDEXING_KB, default_segment_number=1
        ),
        max_search_threads=1,
    )


def tokens_field(*, dim: int) -> qe.UpdateOperation:
    """Returns the update that adds the field of token vectors; no effect if there is one."""
    max_sim = qe.MultiVectorConfig(qe.MultiVectorComparator.MaxSim)
    return qe.UpdateOperation.create_dense_vector(
        TOKENS, dim, qe.Distance.Dot, max_sim, TOKENS_TYPE
    )


def point_of(point: Point, mean: float) -> qe.Point:
    """Returns a point as it is stored, with weights for this mean length."""
    sparse = point.sparse
    if point.dense is None or sparse is None:
        raise ValueError("a point has both vectors or neither")
    weights = bm25_weights(sparse, mean_length=mean)
    payload = payload_of(point) | {"length": length_of(sparse), "mean": mean}
    vector = {
        DENSE: point.dense.tolist(),
        SPARSE: qe.SparseVector(sparse.indices.tolist(), weights.tolist()),
    }
    if point.tokens is not None:
        vector[TOKENS] = point.tokens.tolist()
    return qe.Point(point.chunk.id, vector, payload)


def copied(record: qe.Record, *, mean: float | None = None) -> qe.Point:
    """Returns a stored point to store again; with `mean`, its weights are for that mean length."""
    vector: Any = dict(record.vector)  # type: ignore[arg-type] # read with all its vectors
    payload = record.payload or {}
    if TOKENS in vector:
        # Stored vectors are a little shorter than the written ones: copies of copies would shrink.
        tokens = np.array(vector[TOKENS], np.float32)
        vector[TOKENS] = (tokens / np.linalg.norm(tokens, axis=1, keepdims=True)).tolist()
    if mean is not None and payload["mean"] != mean:
        stored = vector[SPARSE]
        weights = SparseVector(
            indices=np.array(stored.indices, np.int32), values=np.array(stored.values, np.float32)
        )
        new = reweigh(weights, length=payload["length"], old_mean=payload["mean"], new_mean=mean)
        vector[SPARSE] = qe.SparseVector(new.indices.tolist(), new.values.tolist())
        payload = payload | {"mean": mean}
    return qe.Point(record.id, vector, payload)


def query_of(leg: Leg, readers: Readers | None, *, pristine: bool = False) -> qe.QueryRequest:
    """Returns the request of a leg, for what these readers may read.

    `pristine`: the engine's own IDF is that of the points (`edge_reads.PRISTINE_MARK`).
    """
    limit = leg.limit
    if isinstance(leg.vector, SparseVector):
        terms = qe.SparseVector(leg.vector.indices.tolist(), leg.vector.values.tolist())
        query, params = qe.Query.Nearest(terms, using=leg.name), _idf_of(readers, pristine)
        limit += TIES
    else:
        query, params = dense_query(leg.vector, leg.name, exact=leg.exact)
    return qe.QueryRequest(
        limit=limit,
        query=query,
        filter=to_edge(leg.where, readers),
        params=params,
        with_payload=False,
    )


def dense_query(
    vector: Float32Array, using: str, *, exact: bool = False
) -> tuple[qe.Query, qe.SearchParams]:
    """Returns the query of a dense leg, and how it is searched."""
    params = qe.SearchParams(exact=exact, hnsw_ef=EF, acorn=ACORN, quantization=RESCORED)
    return qe.Query.Nearest(vector.tolist(), using=using), params


def _idf_of(readers: Readers | None, pristine: bool) -> qe.SearchParams | None:
    """Returns search parameters that count IDF over what these readers may read."""
    if readers is None:
        return None if pristine else LIVE
    return qe.SearchParams(idf=qe.IdfParams(corpus=edge_corpus(readers)))


def term_query(term: int, readers: Readers | None, *, pristine: bool) -> qe.QueryRequest:
    """Returns the request for the best match of one term, with its weights.

    `pristine` as in `query_of`.
    """
    return qe.QueryRequest(
        limit=1,
        query=qe.Query.Nearest(qe.SparseVector([term], [1.0]), using=SPARSE),
        filter=to_edge((), readers),
        params=_idf_of(readers, pristine),
        with_payload=False,
        with_vector=[SPARSE],
    )


def max_sim_query(
    question: Float32Array, chunk_ids: Sequence[str], readers: Readers | None
) -> qe.QueryRequest:
    """Returns the request for late interaction with those of these chunks that may be read."""
    return qe.QueryRequest(
        limit=len(chunk_ids),
        query=qe.Query.Nearest(question.tolist(), using=TOKENS),
        filter=qe.Filter(must=[qe.HasIdCondition(set(chunk_ids)), *edge_readable(readers)]),
        with_payload=False,
    )


def has_tokens() -> qe.CountRequest:
    """Returns the request for the number of points with token vectors; 0 without their field."""
    return qe.CountRequest(filter=qe.Filter(must=[qe.HasVectorCondition(TOKENS)]))


def length_of(sparse: SparseVector | None) -> int:
    """Returns the number of terms in a chunk."""
    return 0 if sparse is None else int(sparse.values.sum())


def weight_of(point: qe.ScoredPoint, term: int) -> float:
    """Returns the stored weight of one of a point's terms."""
    vector: Any = point.vector
    sparse = vector[SPARSE]
    return float(sparse.values[sparse.indices.index(term)])


def _hnsw(*, m: int) -> qe.HnswIndexConfig:
    """Graph settings without extra links for points that share a field's value: see `ACORN`."""
    return qe.HnswIndexConfig(
        m=m, payload_m=0, ef_construct=HNSW_EF_CONSTRUCT, full_scan_threshold=FULL_SCAN_KB
    )
