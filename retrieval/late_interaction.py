"""Question and passage compared token by token."""

from __future__ import annotations

import numpy as np

from rag.types import Float32Array


def max_sim(
    question: Float32Array, passage: Float32Array, weights: Float32Array | None = None
) -> float:
    """The mean over the question's tokens of the best cosine with any token of the passage.

    MaxSim of Khattab & Zaharia 2020, https://arxiv.org/abs/2004.12832, divided by the number of
    tokens, so that questions of any length share one scale: -1 to 1. Without BLAS, whose threads
    would fight the encoder's for the cores.

    Args:
        question: float32[q, dim], unit rows.
        passage: float32[p, dim], unit rows.
        weights: float32[q], >= 0, what each token of the question counts for; None: all the same.

    Returns:
        The score; 0 where a side has no tokens, or the weights are all 0.
    """
    cosines = np.einsum("id,jd->ij", question, passage, optimize=False)
    if not cosines.size:
        return 0.0
    best = cosines.max(axis=1)
    if weights is None:
        return float(best.mean())
    total = float(weights.sum())
    return float((best * weights).sum()) / total if total else 0.0
