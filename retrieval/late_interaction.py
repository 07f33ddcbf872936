"""Late interaction: passages judged token by token, with the embedder's own vectors.

Khattab & Zaharia 2020, https://arxiv.org/abs/2004.12832; no weights but the embedder's.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence

import numpy as np

from rag.protocols import Index, SparseEncoder, TokenEmbedder
from rag.types import Chunk, Float32Array, Query, Scope, TokenVectors
from rag.vectors import product

_WORD = re.compile(r"\w+")


def max_sim(
    question: Float32Array, passage: Float32Array, weights: Float32Array | None = None
) -> float:
    """Weighted mean over the question's tokens of the best cosine with any of the passage's.

    Args:
        question: float32[tokens, dim], unit rows.
        passage: float32[tokens, dim], unit rows.
        weights: float32[tokens of the question], not negative; None: all count the same.

    Returns:
        -1 to 1; 0 where one of the two has no tokens or nothing has a weight.
    """
    if not len(question) or not len(passage):
        return 0.0
    best = product(question, passage).max(axis=1)
    if weights is None:
        return float(best.mean())
    total = float(weights.sum())
    return float(best @ weights) / total if total else 0.0


class LateInteraction:
    """`Reranker` that compares the question's tokens with each passage's.

    A token of the question weighs 1 plus the IDF that BM25 gives its word in the collection, and
    1 where it is a stop word: what is rare in the collection says more about what is asked.
    """

    def __init__(
        self,
        *,
        embedder: TokenEmbedder,
        encoder: SparseEncoder,
        index: Index,
        text_of: Callable[[Chunk], str],
    ) -> None:
        """Make a reranker; `text_of` is what was embedded of a chunk when it was ingested."""
        self._embedder = embedder
        self._encoder = encoder
        self._index = index
        self._text_of = text_of

    async def score(self, query: Query, chunks: Sequence[Chunk]) -> Float32Array:
        """`max_sim` of the question and each chunk."""
        (question,), passages = await asyncio.gather(
            self._embedder.embed_tokens([query.text], kind="query"),
            self._embedder.embed_tokens([self._text_of(c) for c in chunks], kind="passage"),
        )
        weights = await self._weights(query.scope, query.text, question)
        scores = [max_sim(question.vectors, p.vectors, weights) for p in passages]
        return np.array(scores, np.float32)

    async def _weights(self, scope: Scope, text: str, tokens: TokenVectors) -> Float32Array:
        words = list(_WORD.finditer(text))
        bags = self._encoder.encode([word[0] for word in words])
        terms = np.concatenate([bag.indices for bag in bags]) if bags else np.empty(0, np.int32)
        idf = await self._index.idf(scope, terms.tolist())
        found = dict(zip(terms.tolist(), idf, strict=True))
        weights = np.ones(len(tokens.spans), np.float32)
        for word, bag in zip(words, bags, strict=True):
            inside = (tokens.spans[:, 0] >= word.start()) & (tokens.spans[:, 1] <= word.end())
            weights[inside] += max((found[term] for term in bag.indices.tolist()), default=0.0)
        return weights
