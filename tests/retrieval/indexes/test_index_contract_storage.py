"""The contract of `PersistentIndex`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rag.protocols import PersistentIndex
from rag.types import Scope
from tests.fakes import (
    dense_leg,
    make_points,
    sparse_leg,
)
from tests.indexes import corpus, found
from tests.qdrant_servers import NO_INDEXES

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop"), NO_INDEXES]


async def test_all_chunks_of_a_scope_and_of_no_other_come_in_pages(
    index: PersistentIndex, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(scope, tenant="rival")
    monkeypatch.setattr("retrieval.indexes.edge_reads.PAGE", 3)
    monkeypatch.setattr("retrieval.indexes.qdrant_tenants.PAGE", 3)
    assert [chunk async for page in index.pages(scope) for chunk in page] == []
    chunks = corpus(*(f"cat {i}" for i in range(8)))
    await index.upsert(scope, make_points(chunks))
    await index.upsert(other, make_points(corpus("dog", document_id="theirs")))
    seen = [chunk async for page in index.pages(scope) for chunk in page]
    assert sorted(chunk.id for chunk in seen) == sorted(chunk.id for chunk in chunks)
    assert {chunk.id: chunk for chunk in seen} == {chunk.id: chunk for chunk in chunks}


async def test_a_scope_is_held_once_it_has_chunks(index: PersistentIndex, scope: Scope) -> None:
    assert not await index.holds(scope)
    await index.upsert(scope, make_points(corpus("the cat")))
    assert await index.holds(scope)
    assert not await index.holds(replace(scope, tenant="rival"))
    assert not await index.holds(replace(scope, collection="other"))


async def test_maintaining_changes_no_chunk_and_no_order(
    index: PersistentIndex, scope: Scope
) -> None:
    await index.maintain(scope)
    assert not await index.holds(scope)
    chunks = corpus("the cat", "a dog and a cat", "horses run", document_id="one")
    await index.upsert(scope, make_points(chunks[:1]))
    await index.upsert(scope, make_points(chunks[1:]))
    await index.maintain(scope)
    assert await index.fetch(scope, [chunk.id for chunk in chunks]) == chunks
    for leg in (dense_leg("cat"), sparse_leg("cat")):
        assert (await found(index, scope, leg))[:2] == [chunks[0].id, chunks[1].id]


async def test_chunks_are_written_searched_and_deleted_while_text_is_erased(
    index: PersistentIndex, scope: Scope
) -> None:
    gone, kept = corpus("the cat", "a dog and a cat")
    async with index.erasing():
        await index.upsert(scope, make_points([gone, kept]))
        await index.delete(scope, [gone.id])
        assert await index.chunk_ids(scope, None) == {kept.id}
    assert await index.fetch(scope, [gone.id, kept.id]) == [kept]
    assert await found(index, scope, sparse_leg("cat")) == [kept.id]
