"""Fits the cosine from which the answer cache takes two questions for the same.

Rewordings and near misses are made of one's own questions (`eval.datasets.question_pairs`). A
rewording that shares the answer of its question is a hit, a near miss that does is a false hit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from random import Random

import numpy as np

from eval.datasets.adversarial import names_of
from eval.datasets.question_pairs import near_misses, rewordings
from rag.answer_cache.meaning import meaning_of
from rag.protocols import Embedder
from rag.types import Float32Array

THRESHOLDS = tuple(round(0.8 + place / 100, 2) for place in range(20))
MOST_FALSE = 0.005
"""Share of near misses that may be false hits; the upper end of its interval is below."""
LEAST_HITS = 0.4
"""Share of rewordings that are hits: with fewer, the search for them costs more than it gains."""
MOST_QUESTIONS = 3000
"""Questions of which pairs are made; the newest."""
_AT_ONCE = 64
_Z = 1.6449
"""Normal quantile of a one-sided interval of 95 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two questions, how the second was made of the first, and how near they are.

    `agree` is True if nothing that carries the meaning differs.
    """

    kind: str
    question: str
    other: str
    cosine: float
    agree: bool

    def hits(self, threshold: float) -> bool:
        """Returns True if the second gets the answer of the first."""
        return self.agree and self.cosine >= threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The shares of hits and false hits at a threshold, without the words' check as well.

    `highest` is the upper end of the 95 % interval of the false hits (Wilson 1927).
    """

    threshold: float
    hits: float
    false_hits: float
    highest: float
    by_vector_alone: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """The threshold, None if no one holds both bounds, and what it was fitted to."""

    threshold: float | None
    curve: tuple[Point, ...]
    rewordings: tuple[Pair, ...]
    near_misses: tuple[Pair, ...]
    own: tuple[Pair, ...]
    """Different questions, of those given, that share an answer at the lowest threshold."""


async def fit(questions: Sequence[str], embedder: Embedder) -> Fitted:
    """Fits the threshold to questions, oldest first; of equal ones one counts."""
    asked = list(dict.fromkeys(questions))[-MOST_QUESTIONS:]
    vectors = await _embedded(asked, embedder)
    random = Random(0)  # noqa: S311 - no secret
    names = sorted({name for question in asked for name in names_of(question)})
    same, other = [], []
    for place, question in enumerate(asked):
        same += [(place, kind, text) for kind, text in rewordings(question)]
        other += [(place, kind, text) for kind, text in near_misses(question, names, random)]
    made = [await _pairs(asked, vectors, each, embedder) for each in (same, other)]
    curve = tuple(_point(threshold, *made) for threshold in THRESHOLDS)
    held = (p.threshold for p in curve if p.highest <= MOST_FALSE and p.hits >= LEAST_HITS)
    return Fitted(
        threshold=next(held, None),
        curve=curve,
        rewordings=made[0],
        near_misses=made[1],
        own=tuple(_own(asked, vectors)),
    )


async def _embedded(texts: Sequence[str], embedder: Embedder) -> Float32Array:
    parts = [
        await embedder.embed(texts[place : place + _AT_ONCE], kind="query")
        for place in range(0, len(texts), _AT_ONCE)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, embedder.dim), np.float32)


async def _pairs(
    asked: Sequence[str],
    vectors: Float32Array,
    made: Sequence[tuple[int, str, str]],
    embedder: Embedder,
) -> tuple[Pair, ...]:
    others = await _embedded([text for *_, text in made], embedder)
    return tuple(
        _pair(kind, asked[place], text, float(vectors[place] @ vector))
        for (place, kind, text), vector in zip(made, others, strict=True)
    )


def _pair(kind: str, question: str, other: str, cosine: float) -> Pair:
    agree = meaning_of(question).agrees(meaning_of(other))
    return Pair(kind=kind, question=question, other=other, cosine=cosine, agree=agree)


def _point(threshold: float, same: Sequence[Pair], other: Sequence[Pair]) -> Point:
    false = sum(pair.hits(threshold) for pair in other)
    return Point(
        threshold=threshold,
        hits=_share(sum(pair.hits(threshold) for pair in same), len(same)),
        false_hits=_share(false, len(other)),
        highest=_highest(false, len(other)),
        by_vector_alone=(
            _share(sum(pair.cosine >= threshold for pair in same), len(same)),
            _share(sum(pair.cosine >= threshold for pair in other), len(other)),
        ),
    )


def _share(count: int, of: int) -> float:
    return count / of if of else 0.0


def _highest(count: int, of: int) -> float:
    """Returns the upper end of Wilson's interval of a share; 1 if nothing was counted."""
    if not of:
        return 1.0
    share, square = count / of, _Z**2
    middle = share + square / (2 * of)
    spread = _Z * sqrt(share * (1 - share) / of + square / (4 * of**2))
    return (middle + spread) / (1 + square / of)


def _own(asked: Sequence[str], vectors: Float32Array) -> Iterator[Pair]:
    """Yields each question with the nearest one before it whose answer it would get."""
    for place, question in enumerate(asked):
        cosines = vectors[:place] @ vectors[place]
        for before in np.argsort(-cosines).tolist():
            if cosines[before] < THRESHOLDS[0]:
                break
            pair = _pair("own", asked[before], question, float(cosines[before]))
            if pair.agree:
                yield pair
                break
