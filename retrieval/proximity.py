"""Proximity: question words that stand next to each other should be near each other in a passage.

The unordered windows of the sequential dependence model (Metzler & Croft 2005,
https://doi.org/10.1145/1076034.1076115), with BM25's saturation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np

from rag.protocols import SparseEncoder
from rag.types import Float32Array
from retrieval.bm25 import K1

WINDOW = 8
"""Words of a window, as in the paper."""
CACHED_WORDS = 50_000
_WORD = re.compile(r"\w+")

Places = dict[int, list[int]]
"""The positions, in words, of each term of a text."""


class Proximity:
    """Scores passages by the pairs of neighbouring question words that are near each other."""

    def __init__(self, encoder: SparseEncoder) -> None:
        self._encoder = encoder
        self._terms = lru_cache(CACHED_WORDS)(self._terms_of)

    def scores(self, question: str, passages: Sequence[str]) -> Float32Array:
        """Returns float32[passages]: Σ over pairs of n (k1 + 1) / (n + k1), n times near.

        Pairs are of content words; stop words between them are passed over. In scripts without
        spaces there are none, and all score 0: their terms are pairs of characters already.
        """
        words = [terms[0] for terms in self._words(question) if len(terms) == 1]
        pairs = [(a, b) for a, b in pairwise(words) if a != b]
        asked = frozenset(words)
        scores = np.zeros(len(passages), np.float32)
        for i, passage in enumerate(passages if pairs else ()):
            places = self._places(passage, asked)
            near = np.array([_times_near(places, pair) for pair in pairs], np.float32)
            scores[i] = (near * (K1 + 1) / (near + K1)).sum()
        return scores

    def _places(self, text: str, asked: frozenset[int]) -> Places:
        places: Places = {}
        for position, terms in enumerate(self._words(text)):
            for term in terms:
                if term in asked:
                    places.setdefault(term, []).append(position)
        return places

    def _words(self, text: str) -> list[tuple[int, ...]]:
        return [self._terms(word) for word in _WORD.findall(text)]

    def _terms_of(self, word: str) -> tuple[int, ...]:
        (bag,) = self._encoder.encode([word])
        return tuple(bag.indices.tolist())


def _times_near(places: Places, pair: tuple[int, int]) -> int:
    first, second = (places.get(term, []) for term in pair)
    return sum(abs(a - b) < WINDOW for a in first for b in second)
