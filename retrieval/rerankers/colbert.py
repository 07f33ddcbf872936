"""Late interaction by a ColBERT model of its own, beside the embedder."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from rag.protocols import TokenEmbedder
from rag.text.passages import passage_text
from rag.types import Chunk, Float32Array, Query
from retrieval.rerankers.late_interaction import max_sim


class ColbertReranker:
    """`Reranker` that compares the model's vectors of question and passage."""

    def __init__(self, embedder: TokenEmbedder) -> None:
        """Makes a reranker.

        Args:
            embedder: the model, or a cache of its vectors.
        """
        self._embedder = embedder

    async def score(self, query: Query, chunks: Sequence[Chunk]) -> Float32Array:
        """Returns `max_sim` of the question and each chunk."""
        texts = [passage_text(chunk) for chunk in chunks]
        (question,), passages = await asyncio.gather(
            self._embedder.embed_tokens([query.text], kind="query"),
            self._embedder.embed_tokens(texts, kind="passage"),
        )
        return np.array([max_sim(question.vectors, p.vectors) for p in passages], np.float32)
