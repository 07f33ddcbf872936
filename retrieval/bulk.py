"""Many texts of one caller, a few at a time: others' questions get in between."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import numpy as np

from rag.protocols import Embedder, TokenEmbedder
from rag.types import Float32Array, Kind
from retrieval.late_interaction import max_sim

AT_ONCE = 32
"""Texts handed to the embedder together; their token vectors take some 10 MB."""


async def embed_all(embedder: Embedder, texts: Sequence[str], *, kind: Kind) -> Float32Array:
    """float32[n, dim], unit norm, in input order."""
    rows = [await embedder.embed(few, kind=kind) for few in _slices(texts)]
    return np.concatenate(rows) if rows else np.empty((0, embedder.dim), np.float32)


async def score_all(embedder: TokenEmbedder, question: str, texts: Sequence[str]) -> list[float]:
    """How well each text fits the question, in input order: see `max_sim`."""
    (tokens,) = await embedder.embed_tokens([question], kind="query")
    scores: list[float] = []
    for few in _slices(texts):
        passages = await embedder.embed_tokens(few, kind="passage")
        vectors = [passage.vectors for passage in passages]
        scores += await asyncio.to_thread(_scores, tokens.vectors, vectors)
    return scores


def _scores(question: Float32Array, passages: Sequence[Float32Array]) -> list[float]:
    return [max_sim(question, passage) for passage in passages]


def _slices(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    return (texts[i : i + AT_ONCE] for i in range(0, len(texts), AT_ONCE))
