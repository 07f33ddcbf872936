"""The contract of `StoredVectors`: dense vectors, term statistics and late interaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rag.protocols import StoredIndex, StoredVectors
from rag.text.passages import passage_text
from rag.types import Chunk, Point, Scope
from retrieval.bm25 import bm25_idf
from tests.fakes import (
    HashEmbedder,
    dense_leg,
    make_chunk,
    make_points,
)
from tests.indexes import NOWHERE, corpus, found, term_of
from tests.qdrant_servers import NO_INDEXES

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop"), NO_INDEXES]

EMBEDDER = HashEmbedder()
ASKED = "cat dog"


async def test_vectors_are_the_dense_ones_by_id(index: StoredIndex, scope: Scope) -> None:
    a, b = make_chunk("the cat sat"), make_chunk("a dog", position=1)
    points = make_points([a, b])
    embedded = points[1].dense
    assert embedded is not None
    await index.upsert(scope, points)
    found = await index.vectors(scope, [b.id, NOWHERE])
    assert list(found) == [b.id]
    np.testing.assert_allclose(found[b.id], embedded, atol=1e-6)
    assert await index.vectors(scope, []) == {}
    assert await index.vectors(replace(scope, collection="nowhere"), [a.id]) == {}


# Inverse document frequency


async def test_idf_is_bm25s_for_seen_and_unseen_terms_also_after_deletes(
    index: StoredIndex, scope: Scope
) -> None:
    chunks = corpus("cat", "cat cat dog", "dog", "mouse", "fish soup")
    cat, dog, fish = [await term_of(word) for word in ("cat", "dog", "fish")]
    await index.upsert(scope, make_points(chunks))
    expected = [bm25_idf(5, 2), bm25_idf(5, 1), bm25_idf(5, 2)]
    assert await index.idf(scope, [cat, fish, dog]) == pytest.approx(expected, rel=1e-4)
    await index.delete(scope, [chunks[0].id, chunks[4].id])
    expected = [bm25_idf(3, 1), bm25_idf(3, 0), bm25_idf(3, 2)]
    assert await index.idf(scope, [cat, fish, dog]) == pytest.approx(expected, rel=1e-4)
    await index.upsert(scope, make_points([replace(chunks[1], text="fish")]))
    expected = [bm25_idf(3, 0), bm25_idf(3, 1), bm25_idf(3, 1)]
    assert await index.idf(scope, [cat, fish, dog]) == pytest.approx(expected, rel=1e-4)
    assert await index.idf(scope, []) == []


# Late interaction

PRECISION = 0.06
"""The largest error of a cosine of vectors stored in half a byte a number."""


def exact(question: str, chunk: Chunk) -> float:
    """Returns the sum over the question's words of the best cosine with a word of the chunk."""
    asked, told = (EMBEDDER.tokens(t).astype(np.float32) for t in (question, passage_text(chunk)))
    return float((asked @ told.T).max(axis=1).sum())


async def max_sim(index: StoredVectors, scope: Scope, chunks: Sequence[Chunk]) -> dict[str, float]:
    asked = EMBEDDER.tokens(ASKED).astype(np.float32)
    return await index.max_sim(scope, asked, [chunk.id for chunk in chunks])


def nearly(chunks: Sequence[Chunk]) -> Any:
    return pytest.approx({c.id: exact(ASKED, c) for c in chunks}, abs=PRECISION)


async def test_late_interaction_sums_up_the_best_match_of_each_token(
    index: StoredIndex, scope: Scope
) -> None:
    chunks = corpus("the cat sat", "a dog and a cat", "horses run", "fish")
    assert await max_sim(index, scope, chunks) == {}
    await index.upsert(scope, make_points(chunks, by_token=True))
    assert await max_sim(index, scope, chunks) == nearly(chunks)
    assert await max_sim(index, scope, chunks[2:3]) == nearly(chunks[2:3])
    assert await max_sim(index, scope, []) == {}
    weights = np.array([[0.5], [3.0]], np.float32)
    asked = EMBEDDER.tokens(ASKED).astype(np.float32)
    weighed = await index.max_sim(scope, asked * weights, [chunks[1].id])
    assert weighed == pytest.approx({chunks[1].id: 3.5}, abs=2 * PRECISION)


async def test_chunks_without_token_vectors_are_left_out_and_those_beside_them_are_not(
    index: StoredIndex, scope: Scope
) -> None:
    without, with_tokens, unknown = corpus("the cat sat", "a dog and a cat", "nowhere")
    await index.upsert(scope, make_points([without]))
    everything = [without, with_tokens, unknown]
    assert await max_sim(index, scope, everything) == {}
    await index.upsert(scope, make_points([with_tokens], by_token=True))  # into what was without
    assert await max_sim(index, scope, everything) == nearly([with_tokens])
    await index.maintain(scope)
    assert await max_sim(index, scope, everything) == nearly([with_tokens])
    assert set(await found(index, scope, dense_leg("cat"))) == {without.id, with_tokens.id}


async def test_token_vectors_stay_as_a_chunk_moves_and_go_as_it_is_replaced_or_deleted(
    index: StoredIndex, scope: Scope
) -> None:
    chunks = corpus("the cat sat", "a dog and a cat", "horses run")
    await index.upsert(scope, make_points(chunks, by_token=True))
    await index.upsert(scope, [Point(chunk=replace(chunks[0], start=7))])
    assert await max_sim(index, scope, chunks) == nearly(chunks)
    await index.upsert(scope, make_points([replace(chunks[1], text="fish soup")]))
    await index.delete(scope, [chunks[2].id])
    assert await max_sim(index, scope, chunks) == nearly(chunks[:1])
    changed = replace(chunks[0], text="dog")
    await index.upsert(scope, make_points([changed], by_token=True))
    assert await max_sim(index, scope, chunks) == nearly([changed])


async def test_versions_have_token_vectors_of_their_own(index: StoredIndex, scope: Scope) -> None:
    [old, new] = corpus("the cat sat", "a dog and a cat")
    await index.upsert(scope, make_points([old]))
    version = await index.begin_version(scope)
    await index.upsert(version, make_points([old, new], by_token=True))
    await index.maintain(version)
    assert await max_sim(index, scope, [old, new]) == {}
    await index.switch_version(scope, version)
    assert await max_sim(index, scope, [old, new]) == nearly([old, new])
    empty = await index.begin_version(scope)
    await index.upsert(empty, [])
    await index.switch_version(scope, empty)
    assert await max_sim(index, scope, [old, new]) == {}
    await index.upsert(scope, make_points([new], by_token=True))
    assert await max_sim(index, scope, [old, new]) == nearly([new])
