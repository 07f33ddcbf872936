"""Chunks, rankings and payloads for the tests of the index on a Qdrant server."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from rag.protocols import StoredIndex
from rag.types import Chunk, Leg, Match, Scope
from retrieval.bm25 import Bm25Encoder
from retrieval.indexes.qdrant import QdrantIndex
from retrieval.indexes.qdrant_server import Server
from tests.fakes import HashEmbedder, dense_leg, make_chunk, sparse_leg

DIM = HashEmbedder().dim
WORDS = [f"word{i}" for i in range(40)]


def random_chunks(n: int, *, seed: int = 7) -> list[Chunk]:
    """Returns chunks of 3 to 40 words; the first words of the list are the most common."""
    rng = random.Random(seed)
    weights = [1 / (1 + i) for i in range(len(WORDS))]
    texts = [" ".join(rng.choices(WORDS, weights, k=rng.randint(3, 40))) for _ in range(n)]
    return [make_chunk(text, position=i) for i, text in enumerate(texts)]


def skewed_chunks(n: int, *, seed: int = 7) -> list[Chunk]:
    """Eight short texts, eight long ones, and so on."""
    rng = random.Random(seed)
    lengths = [rng.randint(60, 90) if i // 8 % 2 else rng.randint(3, 8) for i in range(n)]
    texts = [" ".join(rng.choices(WORDS, k=length)) for length in lengths]
    return [make_chunk(text, position=i) for i, text in enumerate(texts)]


async def ids(index: QdrantIndex, scope: Scope, leg: Leg) -> list[str]:
    return [match.chunk_id for match in (await index.search(scope, [leg]))[0]]


async def stored(server: Server, name: str, payload: str) -> list[Any]:
    records, _ = await server.client.scroll(name, limit=10_000)
    return [(record.payload or {})[payload] for record in records]


async def assert_equal_rankings(ours: StoredIndex, theirs: StoredIndex, scope: Scope) -> None:
    """Checks all matches of both legs of some questions, up to float rounding."""
    rng = random.Random(9)
    for _ in range(20):
        text = " ".join(rng.choices(WORDS, k=4))
        legs = [dense_leg(text, limit=500), sparse_leg(text, limit=500)]
        for a, b in zip(
            await ours.search(scope, legs), await theirs.search(scope, legs), strict=True
        ):
            assert_same_ranking(a, b, rel=1e-6)
    terms = [int(v.indices[0]) for v in Bm25Encoder().encode([*WORDS, "unseen"])]
    assert await ours.idf(scope, terms) == pytest.approx(await theirs.idf(scope, terms), rel=1e-6)


def assert_same_ranking(
    ours: Sequence[Match], theirs: Sequence[Match], *, rel: float = 1e-4
) -> None:
    """Checks the order of chunks; chunks whose scores differ only by rounding may swap."""
    assert len(ours) == len(theirs)
    scores = {match.chunk_id: match.score for match in theirs}
    for a, b in zip(ours, theirs, strict=True):
        assert a.score == pytest.approx(b.score, rel=rel, abs=1e-6)
        assert a.score == pytest.approx(scores[a.chunk_id], rel=rel, abs=1e-6)
