"""Smoothing: passages that are similar to each other should have similar scores.

Diaz 2005, https://doi.org/10.1145/1099554.1099722: the cluster hypothesis, applied to scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rag.types import Float32Array

NEIGHBOURS = 6
"""Number of most similar candidates whose scores count."""
SHARE = 0.3
"""Their share of a score. 5 to 10 neighbours, or a share of 0.2 to 0.4, changes nDCG@10 by at most
0.006 on any test set: docs/reranking.md."""


def smoothed(
    scores: Float32Array, ids: Sequence[str], vectors: Mapping[str, Float32Array]
) -> Float32Array:
    """Returns float32[ids]: (1 - SHARE) * score + SHARE * mean score of the nearest, by cosine.

    A candidate without a vector keeps its score, and is nobody's neighbour.

    Args:
        scores: float32[ids].
        ids: the candidates, each once.
        vectors: float32[dim], unit norm, by id.
    """
    places = [place for place, chunk_id in enumerate(ids) if chunk_id in vectors]
    if len(places) < 2:  # noqa: PLR2004 - no neighbours
        return scores
    rows = np.stack([vectors[ids[place]] for place in places])
    likeness = np.maximum(rows @ rows.T, 0.0)
    likeness.flat[:: len(places) + 1] = 0.0  # the diagonal: nobody is its own neighbour
    count = min(NEIGHBOURS, len(places) - 1)
    nearest = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
    weights = likeness[np.arange(len(places))[:, None], nearest]
    sums = weights.sum(axis=1)
    own = scores[places]
    means = np.divide((weights * own[nearest]).sum(axis=1), sums, out=own.copy(), where=sums > 0)
    result = scores.copy()
    result[places] = (1 - SHARE) * own + SHARE * means
    return result.astype(np.float32)
