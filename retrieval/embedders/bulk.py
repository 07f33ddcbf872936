"""Embeds or scores many texts of one caller in small batches; others' questions run in between."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

import numpy as np

from rag.protocols import Embedder, Reranker
from rag.types import Chunk, Float32Array, Kind, Query

AT_ONCE = 32
"""Texts sent to a model together; their token vectors take about 10 MB."""


async def embed_all(embedder: Embedder, texts: Sequence[str], *, kind: Kind) -> Float32Array:
    """Embeds all texts: float32[n, dim], unit norm, in input order."""
    rows = [await embedder.embed(few, kind=kind) for few in _slices(texts)]
    return np.concatenate(rows) if rows else np.empty((0, embedder.dim), np.float32)


async def score_all(reranker: Reranker, query: Query, texts: Sequence[str]) -> list[float]:
    """Returns the reranker's score of each text, in input order."""
    scores: list[float] = []
    for few in _slices(texts):
        chunks = [_bare(text, position) for position, text in enumerate(few)]
        scores += (await reranker.score(query, chunks)).tolist()
    return scores


def _bare(text: str, position: int) -> Chunk:
    """Wraps a text that belongs to no document, with an id that no index holds."""
    return Chunk(
        id=str(uuid.UUID(int=position)),
        document_id="",
        version="",
        position=position,
        text=text,
        start=0,
        end=len(text),
        title="",
        uri="",
    )


def _slices(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    return (texts[i : i + AT_ONCE] for i in range(0, len(texts), AT_ONCE))
