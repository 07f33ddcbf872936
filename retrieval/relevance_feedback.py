"""Pseudo-relevance feedback: the best passages extend the question.

Rocchio 1971 for the dense leg; for the BM25 leg the relevance model RM3 (Abdul-Jaleel et al. 2004,
https://trec.nist.gov/pubs/trec13/papers/umass.novelty.hard.pdf): the passages' likeliest terms are
added to the question's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from rag.protocols import SparseEncoder
from rag.text.passages import passage_text
from rag.types import Chunk, Float32Array, Leg, SparseVector
from retrieval.bm25 import K1
from retrieval.memo import TextMemo

PASSAGES = 3
"""Number of passages taken as relevant."""
DENSE = 0.5
"""Length of the vector added to the question's vector, which has length 1."""
SPARSE = 0.4
"""Weight of all added terms together; the question's own together have 1."""
KEPT_PASSAGES = 2_000
"""Passages whose terms are kept: 3 MB if passages have 2,000 characters."""
TERMS = 10
"""Number of added terms, at most. These four were chosen on cranfield, squad2-dev-a and XQuAD; half
or twice as much of any changes nDCG@10 by less than 0.006: docs/reranking.md."""


class Feedback:
    """Extends the legs of a search by the best passages that it found."""

    def __init__(self, encoder: SparseEncoder) -> None:
        """Takes the encoder that makes the terms that are added to the BM25 leg."""

        def bag_of(text: str) -> SparseVector:
            return encoder.encode([text])[0]

        self._bags = TextMemo(bag_of, most=KEPT_PASSAGES)

    def extend(
        self,
        legs: Sequence[Leg],
        chunks: Sequence[Chunk],
        scores: Float32Array,
        vectors: Mapping[str, Float32Array],
    ) -> list[Leg]:
        """Returns the legs, moved towards the best chunks; unchanged if no chunk has a vector.

        Args:
            legs: the legs that were searched.
            chunks: the chunks to choose from.
            scores: float32[chunks], higher is better.
            vectors: float32[dim] of chunks, by id.
        """
        ids = [chunk.id for chunk in chunks]
        best = [i for i in np.argsort(-scores, kind="stable") if ids[i] in vectors][:PASSAGES]
        if not best:
            return list(legs)
        bags = [self._bags.of(passage_text(chunks[i])) for i in best]
        return expand(legs, scores[best], np.stack([vectors[ids[i]] for i in best]), bags)


def expand(
    legs: Sequence[Leg], scores: Float32Array, vectors: Float32Array, bags: Sequence[SparseVector]
) -> list[Leg]:
    """Returns the legs, moved towards the passages that a reranker found best.

    Args:
        legs: the legs that were searched.
        scores: float32[n] of the passages, in standard deviations: their softmax is each passage's
            weight.
        vectors: float32[n, dim] of the passages.
        bags: the term counts of the passages.
    """
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    return [
        replace(leg, vector=_with_terms(leg.vector, shares, bags))
        if isinstance(leg.vector, SparseVector)
        else replace(leg, vector=_moved(leg.vector, shares @ vectors))
        for leg in legs
    ]


def _moved(question: Float32Array, passages: Float32Array) -> Float32Array:
    moved: Float32Array = (question + DENSE * passages).astype(np.float32)
    length = float(np.linalg.norm(moved))
    return moved / np.float32(length) if length else question


def _with_terms(
    question: SparseVector, shares: Float32Array, bags: Sequence[SparseVector]
) -> SparseVector:
    found: Counter[int] = Counter()
    for share, bag in zip(shares.tolist(), bags, strict=True):
        saturated = bag.values * (K1 + 1) / (bag.values + K1)
        for term, weight in zip(bag.indices.tolist(), saturated.tolist(), strict=True):
            found[term] += share * weight
    best = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:TERMS]
    total = sum(weight for _, weight in best)
    if not total:
        return question
    scale = SPARSE * float(question.values.sum()) / total
    weights = dict(zip(question.indices.tolist(), question.values.tolist(), strict=True))
    for term, weight in best:
        weights[term] = weights.get(term, 0.0) + scale * weight
    terms = sorted(weights)
    return SparseVector(
        indices=np.array(terms, np.int32),
        values=np.array([weights[term] for term in terms], np.float32),
    )
