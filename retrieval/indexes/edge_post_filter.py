"""Post-filtering: the best of all chunks are found, and those that may be read remain.

For readers of much it is faster than a filter in the search of a graph, which tests each chunk that
it looks at. The engine itself drops what may not be read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import qdrant_edge as qe

from rag.types import Float32Array, Leg, SparseVector
from rag.types.acl import Readers
from retrieval.indexes.edge_points import dense_query
from retrieval.indexes.filters import edge_readable

READABLE_FROM = 25_000
"""Chunks that may be read from which post-filtering is used. Fewer are compared one by one, which
takes 3 ms of CPU for 20,000 of 384 numbers and misses none."""
SHARE_FROM = 0.25
"""Share of chunks that may be read from which it is used: four candidates for each that is kept."""
_HIDDEN = qe.Expression.Constant(-1e30)
_LOWEST = -1e29
"""Scores of chunks that may not be read are below it, those of others are not changed."""


def post_filtered(
    legs: Sequence[Leg], readers: Readers | None, *, readable: int, points: int
) -> dict[int, qe.QueryRequest]:
    """Returns the requests of the legs that are searched faster so, by their places.

    A response with fewer than `leg.limit` points says nothing of the others: ask again with
    `query_of`. Where what may be read is unrelated to the question, that is rare. A leg with
    conditions is not among them: these can exclude most of what may be read.

    Args:
        legs: of a question.
        readers: None: no point is hidden from them.
        readable: about how many points they may read.
        points: the number of all points.
    """
    if readers is None or readable < max(READABLE_FROM, SHARE_FROM * points):
        return {}
    return {
        i: _post_filtered(leg.vector, leg, readers, points / readable)
        for i, leg in enumerate(legs)
        if not isinstance(leg.vector, SparseVector) and not leg.exact and not leg.where
    }


def _post_filtered(
    vector: Float32Array, leg: Leg, readers: Readers, searched_for_one: float
) -> qe.QueryRequest:
    candidates = math.ceil((leg.limit + 3 * math.sqrt(leg.limit)) * searched_for_one)
    query, params = dense_query(vector, leg.name)
    hidden = qe.Expression.Condition(qe.Filter(must_not=edge_readable(readers)))
    score = [qe.Expression.Variable("$score"), qe.Expression.Mult([_HIDDEN, hidden])]
    return qe.QueryRequest(
        limit=leg.limit,
        prefetches=[qe.Prefetch(limit=candidates, query=query, params=params)],
        query=qe.Formula(qe.Expression.Sum(score)),
        score_threshold=_LOWEST,
        with_payload=False,
    )
