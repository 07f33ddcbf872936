"""The terms of single words."""

from __future__ import annotations

from rag.protocols import SparseEncoder
from retrieval.memo import Memo

KEPT_WORDS = 50_000


def word_terms(encoder: SparseEncoder) -> Memo[str, tuple[int, ...]]:
    """Returns a memo of the encoder's terms of a word: none for a stop word."""

    def terms_of(word: str) -> tuple[int, ...]:
        (bag,) = encoder.encode([word])
        return tuple(bag.indices.tolist())

    return Memo(terms_of, most=KEPT_WORDS)
