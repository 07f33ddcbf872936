"""Questions whose rare words are extended by similar words of the collection."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from rag.types import SparseVector
from retrieval.bm25 import Bm25Encoder

SHORTEST = 5
"""Letters of a word that is extended."""
SIMILAR = 0.6
"""Least share of common trigrams, Dice's coefficient."""
MOST = 3
"""Similar words that are added, at most."""
_WORD = re.compile(r"\w+")


class ExtendingEncoder(Bm25Encoder):
    """Adds to a word of a question that no passage has the words most similar to it."""

    def __init__(self, questions: Collection[str], passages: Iterable[str]) -> None:
        """Takes the questions, which alone are extended, and what has the vocabulary."""
        super().__init__()
        self._questions = frozenset(questions)
        words = {word for text in passages for word in _WORD.findall(text.lower())}
        self._trigrams = {w: _trigrams(w) for w in words if w.isalpha() and len(w) >= SHORTEST - 1}
        self._having: dict[str, list[str]] = defaultdict(list)
        for word, trigrams in self._trigrams.items():
            for trigram in trigrams:
                self._having[trigram].append(word)
        (bag,) = super().encode([" ".join(words)])
        self._known = frozenset(bag.indices.tolist())

    def encode(self, texts: Sequence[str]) -> list[SparseVector]:
        """Returns the term counts; added terms have their similarity as count."""
        return [
            self._extended(text, bag) if text in self._questions else bag
            for text, bag in zip(texts, super().encode(texts), strict=True)
        ]

    def _extended(self, question: str, bag: SparseVector) -> SparseVector:
        weights = dict(zip(bag.indices.tolist(), bag.values.tolist(), strict=True))
        for word in _WORD.findall(question.lower()):
            if len(word) >= SHORTEST and word.isalpha() and self._is_new(word):
                for similarity, other in self._similar(word):
                    for term in self._terms(other):
                        weights.setdefault(term, similarity)
        terms = sorted(weights)
        return SparseVector(
            indices=np.array(terms, np.int32),
            values=np.array([weights[term] for term in terms], np.float32),
        )

    def _terms(self, word: str) -> list[int]:
        (bag,) = super().encode([word])
        terms: list[int] = bag.indices.tolist()
        return terms

    def _is_new(self, word: str) -> bool:
        terms = self._terms(word)
        return bool(terms) and self._known.isdisjoint(terms)

    def _similar(self, word: str) -> list[tuple[float, str]]:
        own = _trigrams(word)
        common = Counter(other for trigram in own for other in self._having.get(trigram, ()))
        scored = (
            (2 * count / (len(own) + len(self._trigrams[other])), other)
            for other, count in common.items()
        )
        return sorted((each for each in scored if each[0] >= SIMILAR), reverse=True)[:MOST]


def _trigrams(word: str) -> frozenset[str]:
    padded = f"#{word}#"
    return frozenset(padded[i : i + 3] for i in range(len(padded) - 2))
