"""Late interaction: scores passages token by token, with the embedder's own vectors.

Khattab & Zaharia 2020, https://arxiv.org/abs/2004.12832; no weights but the embedder's.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rag.inference.arithmetic import product
from rag.protocols import SparseEncoder, StoredVectors, TokenEmbedder
from rag.text.passages import passage_text
from rag.types import Chunk, Float32Array, Query, Scope, TokenVectors
from retrieval.word_terms import word_terms

_WORD = re.compile(r"\w+")


def max_sim(
    question: Float32Array, passage: Float32Array, weights: Float32Array | None = None
) -> float:
    """Returns the weighted mean over the question's tokens of the best cosine with the passage's.

    Args:
        question: float32[tokens, dim], unit rows.
        passage: float32[tokens, dim], unit rows.
        weights: float32[tokens of the question], not negative; None: all count the same.

    Returns:
        -1 to 1; 0 if one of the two has no tokens or nothing has a weight.
    """
    if not len(question) or not len(passage):
        return 0.0
    best = product(question, passage).max(axis=1)
    if weights is None:
        return float(best.mean())
    total = float(weights.sum())
    return float(best @ weights) / total if total else 0.0


@dataclass(frozen=True, slots=True)
class _Question:
    vectors: Float32Array
    weights: Float32Array

    def max_sim(self, passage: Float32Array) -> float:
        return max_sim(self.vectors, passage, self.weights)


class LateInteraction:
    """`Reranker` that compares the question's tokens with each passage's.

    A token of the question weighs 1 plus its word's BM25 IDF in the collection, and 1 if it is a
    stop word: words that are rare in the collection say more about the question.
    """

    def __init__(
        self,
        *,
        embedder: TokenEmbedder,
        encoder: SparseEncoder,
        index: StoredVectors,
        stored: bool = False,
    ) -> None:
        """Make a reranker.

        Args:
            embedder: makes token vectors.
            encoder: makes the terms whose IDF is used.
            index: holds the collection's IDF and, where they are stored, its token vectors.
            stored: True: the index compares the chunks whose token vectors it holds; those of the
                others are made here. False: all are made here.
        """
        self._embedder = embedder
        self._terms = word_terms(encoder)
        self._index = index
        self._stored = stored

    async def score(self, query: Query, chunks: Sequence[Chunk]) -> Float32Array:
        """Returns `max_sim` of the question and each chunk."""
        if not self._stored:  # passages can be encoded along with the question
            question, passages = await asyncio.gather(self._question(query), self._read(chunks))
            return np.array([question.max_sim(p) for p in passages], np.float32)
        question = await self._question(query)
        scores = await self._found(query.scope, question, [chunk.id for chunk in chunks])
        others = [chunk for chunk in chunks if chunk.id not in scores]
        for chunk, passage in zip(others, await self._read(others), strict=True):
            scores[chunk.id] = question.max_sim(passage)
        return np.array([scores[chunk.id] for chunk in chunks], np.float32)

    async def _question(self, query: Query) -> _Question:
        (tokens,) = await self._embedder.embed_tokens([query.text], kind="query")
        weights = await self._weights(query.scope, query.text, tokens)
        return _Question(tokens.vectors, weights)

    async def _read(self, chunks: Sequence[Chunk]) -> list[Float32Array]:
        texts = [passage_text(chunk) for chunk in chunks]
        return [p.vectors for p in await self._embedder.embed_tokens(texts, kind="passage")]

    async def _found(
        self, scope: Scope, question: _Question, chunk_ids: Sequence[str]
    ) -> dict[str, float]:
        """Returns the index's `max_sim`, which is a sum: each token adds its share of the mean."""
        if not len(question.vectors):
            return {}
        shares = question.weights / question.weights.sum()
        return await self._index.max_sim(scope, question.vectors * shares[:, None], chunk_ids)

    async def _weights(self, scope: Scope, text: str, tokens: TokenVectors) -> Float32Array:
        words = [(word, self._terms[word[0]]) for word in _WORD.finditer(text)]
        terms = list({term for _, own in words for term in own})
        idf = dict(zip(terms, await self._index.idf(scope, terms), strict=True))
        weights = np.ones(len(tokens.spans), np.float32)
        for word, own in words:
            if own:
                inside = (tokens.spans[:, 0] >= word.start()) & (tokens.spans[:, 1] <= word.end())
                weights[inside] += max(idf[term] for term in own)
        return weights
