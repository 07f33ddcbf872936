from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.types import Float32Array, Query, Scope
from retrieval.bm25 import Bm25Encoder
from retrieval.embedders.bulk import AT_ONCE, embed_all, score_all
from retrieval.rerankers.late_interaction import LateInteraction, max_sim
from tests.fakes import HashEmbedder, MemoryIndex

EAST, NORTH, WEST = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
NONE = np.empty((0, 2), np.float32)


def rows(*vectors: Float32Array) -> Float32Array:
    return np.stack(vectors)


def test_the_best_cosine_of_each_token_averaged() -> None:
    diagonal = np.array([0.6, 0.8], np.float32)
    assert max_sim(rows(EAST), rows(NORTH, diagonal)) == pytest.approx(0.6)
    assert max_sim(rows(EAST, NORTH), rows(diagonal)) == pytest.approx(0.7)
    assert max_sim(rows(EAST), rows(WEST)) == -1


def test_weights() -> None:
    weights = np.array([3, 1], np.float32)
    assert max_sim(rows(EAST, NORTH), rows(EAST), weights) == 0.75
    assert max_sim(rows(EAST, NORTH), rows(EAST), weights * 0) == 0


def test_without_tokens() -> None:
    assert max_sim(NONE, rows(EAST)) == max_sim(rows(EAST), NONE) == max_sim(NONE, NONE) == 0


VECTORS = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).standard_normal((5, 8), np.float32)
)


@given(VECTORS, VECTORS, st.permutations(range(5)))
def test_order_makes_no_difference(
    question: Float32Array, passage: Float32Array, order: list[int]
) -> None:
    score = max_sim(question, passage)
    assert max_sim(question[order], passage[order]) == pytest.approx(score, abs=1e-5)
    assert max_sim(question, passage, np.full(5, 0.3, np.float32)) == pytest.approx(score, abs=1e-5)


@pytest.mark.anyio
@pytest.mark.parametrize("count", [0, 1, AT_ONCE, AT_ONCE * 2 + 1])
async def test_many_texts_are_as_each_alone(count: int, scope: Scope) -> None:
    embedder = HashEmbedder()
    texts = [f"text number {n}" for n in range(count)]
    vectors = await embed_all(embedder, texts, kind="query")
    assert vectors.shape == (count, embedder.dim)
    assert all((vectors[n] == embedder.vector(text)).all() for n, text in enumerate(texts))
    reranker = LateInteraction(embedder=embedder, encoder=Bm25Encoder(), index=MemoryIndex())
    query = Query(text="text number 1", scope=scope)
    scores = await score_all(reranker, query, texts)
    alone = [(await score_all(reranker, query, [text]))[0] for text in texts]
    assert scores == alone
    assert len(scores) == count
