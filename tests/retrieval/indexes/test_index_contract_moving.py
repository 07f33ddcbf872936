"""The contract of `MovableIndex`: its points can be written to another index."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rag.protocols import StoredIndex
from rag.types import Point, Scope
from tests.fakes import dense_leg, make_chunk, make_points, sparse_leg
from tests.indexes import corpus
from tests.qdrant_servers import NO_INDEXES

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop"), NO_INDEXES]


async def points_of(index: StoredIndex, scope: Scope) -> dict[str, Point]:
    return {point.chunk.id: point async for page in index.points(scope) for point in page}


async def test_points_come_back_as_they_were_written(index: StoredIndex, scope: Scope) -> None:
    chunks = [
        replace(chunk, meta={"year": 1990 + i, "tags": ("a", "b")}, headings=("One", "Two"))
        for i, chunk in enumerate(corpus("cat cat dog", "a mouse", "fish soup of fish"))
    ]
    written = [replace(point, acl=frozenset({"user:ann"})) for point in make_points(chunks)]
    await index.upsert(scope, written)
    await index.upsert(replace(scope, tenant="other"), make_points([make_chunk("not mine")]))
    found = await points_of(index, scope)
    assert found.keys() == {chunk.id for chunk in chunks}
    for point in written:
        back = found[point.chunk.id]
        assert back.chunk == point.chunk
        assert back.acl == point.acl
        assert back.tokens is None
        assert point.dense is not None
        assert point.sparse is not None
        assert back.dense is not None
        assert back.sparse is not None
        np.testing.assert_allclose(back.dense, point.dense, atol=1e-6)
        assert dict(zip(back.sparse.indices, back.sparse.values, strict=True)) == dict(
            zip(point.sparse.indices, point.sparse.values, strict=True)
        )
    assert await points_of(index, replace(scope, collection="nowhere")) == {}


async def test_a_copy_ranks_as_the_original_does(index: StoredIndex, scope: Scope) -> None:
    chunks = corpus("cat cat dog", "a mouse and a cat", "fish soup of fish", "dog dog dog mouse")
    await index.upsert(scope, make_points(chunks))
    copy = replace(scope, collection="copy")
    async for page in index.points(scope):
        await index.upsert(copy, page)
    await index.maintain(copy)
    await index.maintain(scope)
    for question in ("cat", "mouse dog", "soup"):
        legs = [dense_leg(question, limit=4), sparse_leg(question, limit=4)]
        first, second = await index.search(scope, legs), await index.search(copy, legs)
        assert [[m.chunk_id for m in leg] for leg in first] == [
            [m.chunk_id for m in leg] for leg in second
        ]


async def test_searches_go_on_in_a_still_index(index: StoredIndex, scope: Scope) -> None:
    await index.upsert(scope, make_points(corpus("cat", "dog")))
    async with index.still():
        [found] = await index.search(scope, [dense_leg("cat", limit=1)])
        assert found
