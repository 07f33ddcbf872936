"""Short measurements on this machine, beside what a plan says of it."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rag.operations.capacity.index_size import CHARS, TERMS, VOCABULARY, chunk_bytes
from rag.protocols import Embedder
from rag.types import Chunk, Float32Array, Point, Scope, SparseVector

if TYPE_CHECKING:
    from retrieval.indexes.edge import EdgeIndex

SCOPE = Scope(tenant="plan", collection="measured")
CHUNKS = 5_000
AT_ONCE = 500
EMBEDDED = 8_192
"""Tokens that are embedded at a time."""
ROUNDS = 3
TERMS_KNOWN = 50_000
"""Terms of the generated chunks."""
WORD = 6
"""Characters of a generated word."""
WORDS = ("water", "house", "river", "music", "party", "world", "light", "night", "power", "stone")
"""Words that are one token each in the vocabularies of BERT's models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A figure of the plan, and the same as it was measured."""

    name: str
    planned: float
    measured: float
    unit: str

    def line(self) -> str:
        """Returns both, and their ratio."""
        ratio = self.measured / self.planned
        return (
            f"{self.name}: {self.measured:,.0f} {self.unit}, planned {self.planned:,.0f}"
            f" ({ratio:.2f})"
        )


async def passage_seconds(
    embedder: Embedder, *, tokens: int, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Returns the time that the embedder takes for each of many passages: the best of three.

    The passages have `tokens` words of one token each.
    """
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(WORDS, tokens)) for _ in range(max(1, EMBEDDED // tokens))]
    await embedder.embed(texts[:8], kind="passage")  # the model is loaded
    best = math.inf
    for _ in range(ROUNDS):
        started = clock()
        await embedder.embed(texts, kind="passage")
        best = min(best, clock() - started)
    return best / len(texts)


async def fill_index(index: EdgeIndex, *, dim: int, tokens: float, chunks: int = CHUNKS) -> None:
    """Writes generated chunks, and has their graph built."""
    random = np.random.default_rng(0)
    for first in range(0, chunks, AT_ONCE):
        count = min(AT_ONCE, chunks - first)
        vectors = _unit(random.standard_normal((count, dim), np.float32))
        points = [_point(random, first + n, vectors[n], tokens) for n in range(count)]
        await index.upsert(SCOPE, points)
    await index.maintain(SCOPE)


def planned_bytes(*, dim: int, tokens: float, chunks: int = CHUNKS) -> float:
    """Returns the bytes of the files of so many generated chunks, without the log."""
    parts = chunk_bytes(tokens, dim=dim, chunks=chunks, stored_tokens=False)
    payload = CHARS * tokens + OWN_PAYLOAD
    occurrences = chunks * max(1, round(TERMS * tokens))
    distinct = TERMS_KNOWN * (1 - (1 - 1 / TERMS_KNOWN) ** occurrences)
    each = sum(parts.values()) - parts["text and payload"] + payload
    return chunks * each + distinct * VOCABULARY


OWN_PAYLOAD = 200
"""Bytes of a generated chunk's payload beside its text: it has no fields of a document."""


def files_bytes(folder: Path) -> int:
    """Returns the bytes that an index's files take on disk, without its write-ahead log."""
    return sum(
        each.stat().st_blocks * 512
        for each in folder.rglob("*")
        if each.is_file() and each.parent.name != "wal"
    )


def _point(random: np.random.Generator, number: int, dense: Float32Array, tokens: float) -> Point:
    terms = max(1, round(TERMS * tokens))
    indices = np.sort(random.choice(TERMS_KNOWN, terms, replace=False)).astype(np.int32)
    text = _text(random, round(CHARS * tokens / (WORD + 1)))
    chunk = Chunk(
        id=str(uuid.UUID(int=number)),
        document_id=f"document-{number // 50}",
        version="",
        position=number,
        text=text,
        start=0,
        end=len(text),
        title=f"Document {number // 50}",
        uri=f"plan:{number // 50}",
    )
    sparse = SparseVector(indices=indices, values=np.ones(terms, np.float32))
    return Point(chunk=chunk, dense=dense, sparse=sparse)


def _text(random: np.random.Generator, words: int) -> str:
    letters = random.integers(97, 123, (words, WORD), dtype=np.uint8)
    return " ".join(row.tobytes().decode() for row in letters)


def _unit(rows: Float32Array) -> Float32Array:
    unit: Float32Array = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
