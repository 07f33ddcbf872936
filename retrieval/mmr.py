"""Diversifies hits: leaves out hits that say the same as a better one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from rag.types import Float32Array, Hit, Query

WIDER = 3
"""Factor by which more hits are retrieved than requested."""
MOST = 1000
"""Hits that are retrieved, at most."""
DUPLICATE = 0.98
"""Cosine from which two chunks count as saying the same."""


def widened(query: Query) -> Query:
    """Returns the query with a `top_k` that leaves a choice."""
    return replace(query, top_k=min(MOST, WIDER * query.top_k))


def mmr(
    hits: Sequence[Hit], vectors: Mapping[str, Float32Array], *, diversity: float, limit: int
) -> list[Hit]:
    """Chooses hits one by one: (1 - diversity) * relevance - diversity * likeness to the chosen.

    Carbonell & Goldstein 1998, https://doi.org/10.1145/290941.291025. Relevance is the score, from
    0 for the last hit to 1 for the first; likeness is the largest cosine. A `DUPLICATE` of a chosen
    hit is left out. A hit without a vector is like none.

    Args:
        hits: best first.
        vectors: float32[dim], unit norm, by chunk id.
        diversity: 0 to 1.
        limit: number of hits to choose.
    """
    if not hits:
        return []
    dim = len(next(iter(vectors.values()), ()))
    rows = np.stack([vectors.get(hit.chunk.id, np.zeros(dim, np.float32)) for hit in hits])
    scores = np.array([hit.score for hit in hits])
    relevance = (scores - scores.min()) / (np.ptp(scores) or 1.0)
    likeness = np.zeros(len(hits))
    free = np.ones(len(hits), bool)
    chosen: list[Hit] = []
    while len(chosen) < limit and free.any():
        gain = np.where(free, (1 - diversity) * relevance - diversity * likeness, -np.inf)
        best = int(gain.argmax())
        chosen.append(hits[best])
        likeness = np.maximum(likeness, np.einsum("id,d->i", rows, rows[best]))
        free[best] = False
        free &= likeness < DUPLICATE
    return chosen
