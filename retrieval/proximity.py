"""Proximity: question words that stand next to each other should be near each other in a passage.

The unordered windows of the sequential dependence model (Metzler & Croft 2005,
https://doi.org/10.1145/1076034.1076115), with BM25's saturation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from rag.protocols import SparseEncoder
from rag.types import Float32Array
from retrieval.bm25 import K1
from retrieval.memo import TextMemo
from retrieval.word_terms import word_terms

WINDOW = 8
"""Words of a window, as in the paper."""
KEPT_PASSAGES = 2_000
"""Passages whose words' terms are kept: 5 MB if passages have 2,000 characters."""
_WORD = re.compile(r"\w+")

Places = dict[int, list[int]]
"""The positions, in words, of each term of a text."""


class Proximity:
    """Scores passages by the pairs of neighbouring question words that are near each other."""

    def __init__(self, encoder: SparseEncoder) -> None:
        self._terms = word_terms(encoder)
        self._passages = TextMemo(self._words, most=KEPT_PASSAGES)

    def scores(self, question: str, passages: Sequence[str]) -> Float32Array:
        """Returns float32[passages]: Σ over pairs of n (k1 + 1) / (n + k1), n times near.

        Pairs are of content words; stop words between them are passed over. In scripts without
        spaces there are none, and all score 0: their terms are pairs of characters already.
        """
        words = [terms[0] for terms in self._words(question) if len(terms) == 1]
        pairs = [(a, b) for a, b in pairwise(words) if a != b]
        asked = frozenset(words)
        if not pairs or not passages:
            return np.zeros(len(passages), np.float32)
        found = (self._places(passage, asked) for passage in passages)
        near = np.array([[_times_near(places, *pair) for pair in pairs] for places in found])
        near = near.astype(np.float32)
        scores: Float32Array = (near * (K1 + 1) / (near + K1)).sum(axis=1)
        return scores

    def _places(self, text: str, asked: frozenset[int]) -> Places:
        places: Places = {}
        for position, terms in enumerate(self._passages.of(text)):
            if not asked.isdisjoint(terms):
                for term in asked.intersection(terms):
                    places.setdefault(term, []).append(position)
        return places

    def _words(self, text: str) -> list[tuple[int, ...]]:
        terms = self._terms
        return [terms[word] for word in _WORD.findall(text)]


def _times_near(places: Places, first: int, second: int) -> int:
    if first not in places or second not in places:
        return 0
    return sum(abs(a - b) < WINDOW for a in places[first] for b in places[second])
