"""Diversity of hits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.telemetry.trace import Trace
from rag.types import Float32Array, Hit, Query, Scope
from retrieval.bm25 import Bm25Encoder
from retrieval.hybrid import HybridRetriever
from retrieval.mmr import mmr
from tests.fakes import HashEmbedder, MemoryIndex, make_chunk, make_points


def hit(name: str, score: float) -> Hit:
    chunk = make_chunk(name, position=int(100 * score))
    return Hit(chunk=chunk, score=score, source="fused", ranks={})


def unit(*values: float) -> Float32Array:
    vector = np.array(values, np.float32)
    length: Float32Array = vector / np.linalg.norm(vector)
    return length


def chosen(
    hits: list[Hit], vectors: list[Float32Array], *, diversity: float, limit: int = 10
) -> list[str]:
    by_id = {hit.chunk.id: vector for hit, vector in zip(hits, vectors, strict=True)}
    return [h.chunk.text for h in mmr(hits, by_id, diversity=diversity, limit=limit)]


def test_what_is_like_a_better_hit_comes_later() -> None:
    hits = [hit("a", 1.0), hit("like a", 0.9), hit("other", 0.5)]
    vectors = [unit(1, 0), unit(1, 0.4), unit(0, 1)]
    assert chosen(hits, vectors, diversity=0.5) == ["a", "other", "like a"]
    assert chosen(hits, vectors, diversity=0.01) == ["a", "like a", "other"]
    assert chosen(hits, vectors, diversity=0.5, limit=1) == ["a"]


def test_what_says_the_same_is_left_out_however_little_difference_counts() -> None:
    hits = [hit("a", 1.0), hit("a again", 0.9), hit("other", 0.1)]
    vectors = [unit(1, 0), unit(1, 0.01), unit(0, 1)]
    assert chosen(hits, vectors, diversity=0.01) == ["a", "other"]


def test_hits_without_vectors_or_with_one_score_are_chosen_too() -> None:
    assert mmr([], {}, diversity=0.5, limit=3) == []
    hits = [hit("a", 0.2), hit("a", 0.2)]
    assert mmr(hits, {}, diversity=0.5, limit=3) == hits


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=12), st.floats(0, 1))
def test_the_best_hit_is_always_first_and_none_comes_twice(
    seeds: list[int], diversity: float
) -> None:
    hits = [hit(f"{n}", 1 - n / 20) for n in range(len(seeds))]
    vectors = [unit(*np.random.default_rng(seed).standard_normal(4)) for seed in seeds]
    names = chosen(hits, vectors, diversity=min(diversity, 0.99))
    assert names[0] == "0"
    assert len(set(names)) == len(names)


@pytest.mark.anyio
async def test_more_are_found_than_are_wanted_and_copies_left_out(scope: Scope) -> None:
    index = MemoryIndex()
    texts = ["the cat sat"] * 3 + ["a cat and a dog", "a cat that runs"]
    chunks = [make_chunk(text, position=i) for i, text in enumerate(texts)]
    await index.upsert(scope, make_points(chunks))
    retriever = HybridRetriever(
        embedder=HashEmbedder(), encoder=Bm25Encoder(), index=index, depth=9, diversity=0.2
    )
    trace = Trace()
    result = await retriever.retrieve(Query(text="the cat sat", scope=scope, top_k=3), trace)
    found = [hit.chunk.text for hit in result.hits]
    assert found[0] == "the cat sat"
    assert sorted(found) == sorted(set(texts))
    assert "diversify" in trace.timings
