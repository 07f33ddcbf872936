"""Weights of the dense leg, learned for each question from its length, rare terms and script."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rag.protocols import SparseEncoder, StoredIndex
from rag.text.identifiers import identifiers
from rag.types import Floats, Scope

WEIGHTS = (0.5, 1.0, 2.0)
"""Weights of the dense leg to choose from; BM25's is 1."""
USUAL = WEIGHTS.index(1.0)
RIDGE = 10.0
LEAST_GAIN = 0.002
"""A weight other than 1 is chosen if it promises this much."""


async def features_of(
    questions: Sequence[str],
    *,
    index: StoredIndex,
    scope: Scope,
    encoder: SparseEncoder,
    count_tokens: Callable[[Sequence[str]], list[int]],
) -> Floats:
    """Returns float64[questions, 6].

    Number of terms; highest and mean IDF; 1 if it has an identifier; tokens of the embedder for
    each word; share of letters that are not ASCII.
    """
    rows = []
    for text, bag, tokens in zip(
        questions, encoder.encode(questions), count_tokens(questions), strict=True
    ):
        idf = await index.idf(scope, bag.indices.tolist()) or [0.0]
        rows.append(
            [
                len(bag.indices),
                max(idf),
                float(np.mean(idf)),
                any(each.strict for each in identifiers(text)),
                tokens / max(len(text.split()), 1),
                sum(not char.isascii() for char in text) / max(len(text), 1),
            ]
        )
    return np.array(rows, np.float64)


def learned(features: Mapping[str, Floats], gains: Mapping[str, Floats], name: str) -> Floats:
    """Returns float64[questions of a set]: nDCG@10 with the weights that the other sets teach.

    Ridge regression of the gain of each weight over 1; each set counts the same.

    Args:
        features: of each set's questions.
        gains: float64[questions, weights] of nDCG@10, by set.
        name: the set; nothing is learned from it.
    """
    others = [other for other in features if other != name]
    rows = np.concatenate([features[other] for other in others])
    mean, spread = rows.mean(axis=0), rows.std(axis=0) + 1e-9

    def scaled(each: Floats) -> Floats:
        cut = np.clip((each - mean) / spread, -3, 3)
        return np.concatenate([np.ones((len(each), 1)), cut], axis=1)

    x = scaled(rows)
    y = np.concatenate([gains[other] - gains[other][:, [USUAL]] for other in others])
    share = np.concatenate([np.full(len(features[o]), 1 / len(features[o])) for o in others])
    weighted = x * (share / share.mean())[:, None]
    model = np.linalg.solve(weighted.T @ x + RIDGE * np.eye(x.shape[1]), weighted.T @ y)
    promised = scaled(features[name]) @ model
    chosen = np.where(promised.max(axis=1) < LEAST_GAIN, USUAL, promised.argmax(axis=1))
    result: Floats = gains[name][np.arange(len(chosen)), chosen]
    return result
