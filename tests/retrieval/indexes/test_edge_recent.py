"""What the embedded index keeps of its reads is what the shard would return."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rag.types import Readers, Scope
from retrieval.bm25 import Bm25Encoder, bm25_idf
from retrieval.indexes.edge import EdgeIndex
from retrieval.indexes.edge_recent import MOST, Read, Recent
from tests.fakes import HashEmbedder, make_chunk, make_points

pytestmark = pytest.mark.anyio
SCOPE = Scope(tenant="t", collection="c")
PUBLIC: Readers = frozenset({"public"})
ANNA: Readers = frozenset({"user:anna"})
ONE, OTHER = make_chunk("the cat sat"), make_chunk("a dog ran", position=1)


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[EdgeIndex]:
    """An index with two chunks that were read, with their vectors and the IDF of a word."""
    opened = EdgeIndex(tmp_path, dim=HashEmbedder().dim)
    points = [replace(point, acl=PUBLIC) for point in make_points([ONE, OTHER])]
    await opened.upsert(SCOPE, points)
    await opened.fetch(SCOPE, [ONE.id, OTHER.id])
    await opened.vectors(SCOPE, [ONE.id, OTHER.id])
    await opened.idf(SCOPE, cat())
    yield opened
    await opened.close()


def cat() -> list[int]:
    found: list[int] = Bm25Encoder().encode(["cat"])[0].indices.tolist()
    return found


async def test_a_replaced_chunk_is_read_anew(index: EdgeIndex) -> None:
    new = replace(ONE, text="the horse sat")
    await index.upsert(SCOPE, make_points([new]))
    assert await index.fetch(SCOPE, [ONE.id]) == [new]
    vectors = await index.vectors(SCOPE, [ONE.id])
    assert np.allclose(vectors[ONE.id], HashEmbedder().vector(new.text), atol=1e-6)
    assert await index.idf(SCOPE, cat()) == pytest.approx([bm25_idf(2, 0)])


async def test_a_chunk_that_is_rewritten_alone_is_read_anew(index: EdgeIndex) -> None:
    (moved,) = make_points([replace(ONE, start=7)])
    await index.upsert(SCOPE, [replace(moved, dense=None, sparse=None)])
    assert [chunk.start for chunk in await index.fetch(SCOPE, [ONE.id])] == [7]


async def test_a_deleted_chunk_is_gone(index: EdgeIndex) -> None:
    await index.delete(SCOPE, [ONE.id])
    assert await index.fetch(SCOPE, [ONE.id, OTHER.id]) == [OTHER]
    assert list(await index.vectors(SCOPE, [ONE.id, OTHER.id])) == [OTHER.id]
    assert await index.idf(SCOPE, cat()) == pytest.approx([bm25_idf(1, 0)])


async def test_a_changed_acl_holds_at_once(index: EdgeIndex) -> None:
    public, anna = (replace(SCOPE, readers=readers) for readers in (PUBLIC, ANNA))
    assert await index.fetch(public, [ONE.id]) == [ONE]
    await index.set_acl(SCOPE, ONE.document_id, ANNA)
    for scope, chunks in ((public, []), (anna, [ONE])):
        assert await index.fetch(scope, [ONE.id]) == chunks
        assert list(await index.vectors(scope, [ONE.id])) == [chunk.id for chunk in chunks]


async def test_the_version_that_is_switched_to_is_read(index: EdgeIndex) -> None:
    new = replace(ONE, text="the horse sat")
    version = await index.begin_version(SCOPE)
    await index.upsert(version, make_points([new]))
    await index.switch_version(SCOPE, version)
    assert await index.fetch(SCOPE, [ONE.id, OTHER.id]) == [new]
    assert await index.idf(SCOPE, cat()) == pytest.approx([bm25_idf(1, 0)])


async def test_each_set_of_readers_has_its_own_idf(index: EdgeIndex) -> None:
    await index.set_acl(SCOPE, ONE.document_id, ANNA)
    third = make_chunk("a bird flew", document_id="third")
    await index.upsert(SCOPE, [replace(make_points([third])[0], acl=PUBLIC)])
    for readers, idf in ((None, bm25_idf(3, 1)), (ANNA, bm25_idf(2, 1)), (PUBLIC, bm25_idf(1, 0))):
        for _ in range(2):
            scope = replace(SCOPE, readers=readers)
            assert await index.idf(scope, cat()) == pytest.approx([idf])


class Shard:
    """Points of which every reader may read the even ones; it records what is read."""

    def __init__(self) -> None:
        self.read: list[list[str]] = []

    def values(self, ids: Sequence[str]) -> Iterator[Read[int]]:
        self.read.append(list(ids))
        return (Read(i, PUBLIC if int(i) % 2 == 0 else ANNA, int(i)) for i in ids if i.isdigit())


def test_values_are_read_once_and_come_in_the_order_asked_for() -> None:
    shard = Shard()
    recent = Recent(shard.values)
    assert recent.of(["2", "1"], None) == {"2": 2, "1": 1}
    assert list(recent.of(["3", "1", "x", "2"], None)) == ["3", "1", "2"]
    assert list(recent.of(["1", "2"], None).values()) == [1, 2]
    assert shard.read == [["2", "1"], ["3", "x"]]


def test_readers_get_what_they_may_read_whoever_read_it_first() -> None:
    recent = Recent(Shard().values)
    assert recent.of(["1", "2"], ANNA) == {"1": 1}
    assert recent.of(["1", "2"], PUBLIC) == {"2": 2}
    assert recent.of(["1", "2"], frozenset()) == {}


def test_what_was_read_first_makes_room_whichever_shard_it_is_of() -> None:
    first, second = Shard(), Shard()
    recent = Recent(first.values)
    recent.of(["1", "2"], None)
    assert len(Recent(second.values).of([str(i) for i in range(MOST - 1)], None)) == MOST - 1
    recent.of(["2"], None)
    recent.of(["1"], None)
    assert first.read == [["1", "2"], ["1"]]


def test_a_shard_that_changed_is_read_anew_and_no_other() -> None:
    first, second = Shard(), Shard()
    changed, other = Recent(first.values), Recent(second.values)
    for _ in range(2):
        changed.of(["1"], None)
        other.of(["1"], None)
        changed.clear()
    assert first.read == [["1"], ["1"]]
    assert second.read == [["1"]]
