"""The contract of `Index`: reading, writing and searching.

A new back end joins by its name in the fixture `index`, and a case in `indexes.opened`.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from rag.protocols import Index, StoredIndex
from rag.types import Leg, MetaValue, Point, Scope
from retrieval.bm25 import bm25_idf
from tests.fakes import (
    HashEmbedder,
    dense_leg,
    make_chunk,
    make_points,
    sparse_leg,
)
from tests.indexes import NOWHERE, as_tuple, at, corpus, found, term_of
from tests.qdrant_servers import NO_INDEXES

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop"), NO_INDEXES]


async def test_of_equal_scores_at_the_end_of_a_sparse_leg_the_first_by_id_are_kept(
    index: Index, scope: Scope
) -> None:
    chunks = corpus(*["the cat sat"] * 12, "cat", *["the dog sat down"] * 5)
    await index.upsert(scope, make_points(chunks))
    leg = replace(sparse_leg("cat"), limit=5)
    [matches] = await index.search(scope, [leg])
    equal = sorted(chunk.id for chunk in chunks[:12])
    assert [match.chunk_id for match in matches] == [chunks[12].id, *equal[:4]]


# A scope that was never written to


async def test_an_unknown_scope_is_empty_to_every_call(index: StoredIndex, scope: Scope) -> None:
    legs = [dense_leg("cat"), sparse_leg("cat"), sparse_leg("cat", at("nofield", "eq", 1))]
    assert await index.search(scope, legs) == [[], [], []]
    assert await index.fetch(scope, [NOWHERE]) == []
    assert await index.chunk_ids(scope, None) == set()
    assert await index.chunk_ids(scope, "doc") == set()
    assert await index.idf(scope, [await term_of("cat")]) == [0.0]
    await index.delete(scope, [NOWHERE])


async def test_writing_nothing_makes_an_empty_scope(index: Index, scope: Scope) -> None:
    await index.upsert(scope, [])
    assert await index.search(scope, [dense_leg("cat"), sparse_leg("cat")]) == [[], []]


async def test_a_scope_whose_chunks_are_all_gone_is_empty(index: Index, scope: Scope) -> None:
    points = make_points(corpus("the cat"))
    await index.upsert(scope, points)
    await index.delete(scope, [points[0].chunk.id])
    assert await index.search(scope, [dense_leg("cat"), sparse_leg("cat")]) == [[], []]
    assert await index.chunk_ids(scope, None) == set()


# Finding


async def test_several_legs_of_a_kind_are_ranked_one_by_one(index: Index, scope: Scope) -> None:
    await index.upsert(scope, make_points(corpus("cat mouse", "dog", "cat")))
    legs = [sparse_leg("cat"), sparse_leg("dog"), sparse_leg("fish")]
    together = await index.search(scope, legs)
    assert together == [(await index.search(scope, [leg]))[0] for leg in legs]
    assert [len(matches) for matches in together] == [2, 1, 0]


async def test_each_leg_finds_the_best_chunk_first(index: Index, scope: Scope) -> None:
    chunks = corpus("dog and horse", "cat and cat and mouse", "cat and dog", "fish soup")
    await index.upsert(scope, make_points(chunks))
    dense, sparse = await index.search(scope, [dense_leg("cat mouse"), sparse_leg("cat mouse")])
    for matches in (dense, sparse):
        assert [m.chunk_id for m in matches[:2]] == [chunks[1].id, chunks[2].id]
        assert [m.score for m in matches] == sorted((m.score for m in matches), reverse=True)


async def test_an_exact_search_of_few_chunks_finds_the_same(index: Index, scope: Scope) -> None:
    chunks = corpus("dog and horse", "cat and mouse", "cat and dog", meta={"year": 1999})
    await index.upsert(scope, make_points(chunks))
    for leg in (dense_leg("cat mouse"), dense_leg("cat mouse", at("year", "gte", 1999))):
        graph, exact = await index.search(scope, [leg, replace(leg, exact=True)])
        assert graph == exact
        assert len(graph) == len(chunks)


async def test_legs_are_answered_in_the_order_they_are_asked(index: Index, scope: Scope) -> None:
    chunks = corpus("cat", "dog", "mouse")
    await index.upsert(scope, make_points(chunks))
    legs = [sparse_leg("mouse"), dense_leg("cat", limit=1), sparse_leg("dog")]
    ranked = await index.search(scope, legs)
    assert [m[0].chunk_id for m in ranked] == [chunks[2].id, chunks[0].id, chunks[1].id]


async def test_the_sparse_leg_finds_only_chunks_that_share_a_term(
    index: Index, scope: Scope
) -> None:
    chunks = corpus("cat", "dog", "cats")
    await index.upsert(scope, make_points(chunks))
    assert set(await found(index, scope, sparse_leg("cat"))) == {chunks[0].id, chunks[2].id}


async def test_the_dense_score_is_the_dot_product(index: Index, scope: Scope) -> None:
    await index.upsert(scope, make_points(corpus("cat and dog")))
    [[match]] = await index.search(scope, [dense_leg("cat")])
    vector = HashEmbedder().vector
    assert match.score == pytest.approx(float(vector("cat") @ vector("cat and dog")), abs=1e-6)


@pytest.mark.parametrize("leg", [dense_leg("cat"), sparse_leg("cat")], ids=["dense", "sparse"])
async def test_ties_are_broken_by_chunk_id(index: Index, scope: Scope, leg: Leg) -> None:
    chunks = corpus(*["the cat"] * 9)
    await index.upsert(scope, make_points(chunks))
    assert await found(index, scope, leg) == sorted(chunk.id for chunk in chunks)


@pytest.mark.parametrize("leg", [dense_leg("cat"), sparse_leg("cat")], ids=["dense", "sparse"])
async def test_a_leg_brings_no_more_than_its_limit(index: Index, scope: Scope, leg: Leg) -> None:
    await index.upsert(scope, make_points(corpus("cat", "cat cat", "cat dog")))
    everything = await found(index, scope, leg)
    assert await found(index, scope, replace(leg, limit=2)) == everything[:2]


async def test_a_text_of_stop_words_alone_is_stored_and_matches_no_term(
    index: Index, scope: Scope
) -> None:
    chunks = corpus("and the of", "the cat")
    await index.upsert(scope, make_points(chunks))
    assert await found(index, scope, sparse_leg("cat")) == [chunks[1].id]
    assert len(await found(index, scope, dense_leg("the"))) == 2


async def test_a_query_of_stop_words_alone_has_no_sparse_match(index: Index, scope: Scope) -> None:
    await index.upsert(scope, make_points(corpus("and the of", "the cat")))
    assert await found(index, scope, sparse_leg("and of the")) == []


async def test_a_collection_of_stop_words_alone_can_be_searched(
    index: StoredIndex, scope: Scope
) -> None:
    await index.upsert(scope, make_points(corpus("and the of")))
    assert await found(index, scope, sparse_leg("cat")) == []
    assert await index.idf(scope, [await term_of("cat")]) == pytest.approx([bm25_idf(1, 0)])


# Writing


async def test_a_known_chunk_id_is_replaced(index: Index, scope: Scope) -> None:
    old, new = corpus("the cat")[0], corpus("a dog")[0]
    assert old.id == new.id
    await index.upsert(scope, make_points([old]))
    await index.upsert(scope, make_points([new]))
    assert await index.fetch(scope, [old.id]) == [new]
    assert await found(index, scope, sparse_leg("cat")) == []
    assert await found(index, scope, sparse_leg("dog")) == [new.id]
    assert len(await found(index, scope, dense_leg("dog"))) == 1


async def test_an_id_that_stands_twice_in_one_write_is_stored_once(
    index: StoredIndex, scope: Scope
) -> None:
    [chunk] = corpus("the cat")
    await index.upsert(scope, make_points([chunk, chunk]))
    assert await found(index, scope, dense_leg("cat")) == [chunk.id]
    terms = [await term_of(word) for word in ("cat", "unseen")]
    expected = [bm25_idf(1, 1), bm25_idf(1, 0)]
    assert await index.idf(scope, terms) == pytest.approx(expected)


async def test_a_point_without_vectors_for_an_unknown_id_is_ignored(
    index: Index, scope: Scope
) -> None:
    known, unknown = corpus("cat", "dog", meta={"year": 2020})
    await index.upsert(scope, make_points([known]))
    await index.upsert(scope, [Point(chunk=unknown)])
    assert await index.chunk_ids(scope, None) == {known.id}


async def test_a_point_without_vectors_rewrites_the_chunk_and_keeps_the_vectors(
    index: Index, scope: Scope
) -> None:
    chunk, other = corpus("the cat", "a dog", meta={"year": 2020, "old": "yes"})
    await index.upsert(scope, make_points([chunk, other]))
    before = await index.search(scope, [dense_leg("cat"), sparse_leg("cat")])
    moved = replace(chunk, start=70, end=77, position=9, meta={"year": 2021})
    await index.upsert(scope, [Point(chunk=moved)])
    assert await index.fetch(scope, [chunk.id]) == [moved]
    assert await index.search(scope, [dense_leg("cat"), sparse_leg("cat")]) == before
    assert await found(index, scope, dense_leg("cat", at("year", "eq", 2021))) == [chunk.id]
    assert await found(index, scope, dense_leg("cat", at("old", "eq", "yes"))) == [other.id]


async def test_delete_ignores_unknown_ids(index: Index, scope: Scope) -> None:
    chunks = corpus("cat", "dog")
    await index.upsert(scope, make_points(chunks))
    await index.delete(scope, [NOWHERE, chunks[0].id])
    await index.delete(scope, [])
    assert await index.chunk_ids(scope, None) == {chunks[1].id}


async def test_a_deleted_chunk_is_found_by_no_leg(index: Index, scope: Scope) -> None:
    chunks = corpus("cat", "cat dog")
    await index.upsert(scope, make_points(chunks))
    await index.delete(scope, [chunks[0].id])
    for leg in (dense_leg("cat"), sparse_leg("cat")):
        assert await found(index, scope, leg) == [chunks[1].id]


async def test_chunk_ids_are_those_of_one_document_or_of_all(index: Index, scope: Scope) -> None:
    one = corpus("cat", "dog", document_id="one")
    two = corpus("cat", document_id="two")
    await index.upsert(scope, make_points([*one, *two]))
    assert await index.chunk_ids(scope, "one") == {chunk.id for chunk in one}
    assert await index.chunk_ids(scope, "two") == {two[0].id}
    assert await index.chunk_ids(scope, "three") == set()
    assert await index.chunk_ids(scope, None) == {chunk.id for chunk in [*one, *two]}


async def test_fetch_keeps_the_order_asked_for_and_leaves_out_unknown_ids(
    index: Index, scope: Scope
) -> None:
    a, b, c = corpus("cat", "dog", "mouse")
    await index.upsert(scope, make_points([a, b, c]))
    assert await index.fetch(scope, [c.id, NOWHERE, a.id]) == [c, a]
    assert await index.fetch(scope, []) == []


META: dict[str, MetaValue] = {
    "word": "naïve 東京 🙂",
    "empty": "",
    "int": -3,
    "big": 2**53,
    "float": 2.5,
    "whole": 2.0,
    "yes": True,
    "no": False,
    "words": ("a", "b"),
    "mixed": ("a", 1, 2.5, True),
    "flags": (True, False),
    "none": (),
    "date": "2024-05-31",
    "dotted.name": "x",
    "with space": "x",
    'with "quotes"': "x",
    "flag": "x",
}


@pytest.mark.parametrize("page", [None, 3])
async def test_a_chunk_comes_back_exactly_as_it_was_written(
    index: Index, scope: Scope, page: int | None
) -> None:
    chunk = make_chunk(
        "Zürich\n\t東京 🙂 \u2028 end",
        document_id="https://example.org/ä?b=c",
        position=17,
        version="f" * 64,
        start=123,
        end=144,
        title="Ein «Titel»",
        uri="https://example.org/ä?b=c",
        page=page,
        headings=("One", "Two > 2"),
        meta=META,
    )
    await index.upsert(scope, make_points([chunk]))
    [back] = await index.fetch(scope, [chunk.id])
    assert back == chunk
    assert {k: type(v) for k, v in back.meta.items()} == {k: type(v) for k, v in META.items()}
    assert [type(v) for v in as_tuple(back.meta["mixed"])] == [str, int, float, bool]


async def test_every_field_of_a_chunk_can_be_filtered_by_its_own_value(
    index: Index, scope: Scope
) -> None:
    chunk, other = corpus("cat", "dog")
    await index.upsert(scope, make_points([replace(chunk, meta=META), other]))
    for field, value in META.items():
        if value != ():
            hits = await found(index, scope, dense_leg("dog", at(field, "in", value)))
            assert hits == [chunk.id], field


async def test_more_chunks_than_a_page_holds_are_all_listed_and_fetched(
    index: Index, scope: Scope
) -> None:
    chunks = corpus(*(f"chunk number {i}" for i in range(1203)))
    await index.upsert(scope, make_points(chunks))
    ids = [chunk.id for chunk in chunks]
    assert await index.chunk_ids(scope, None) == set(ids)
    assert await index.chunk_ids(scope, "doc") == set(ids)
    assert await index.fetch(scope, ids) == chunks
    assert len(await found(index, scope, sparse_leg("number", limit=1203))) == 1203
    await index.delete(scope, ids[:1100])
    assert await index.chunk_ids(scope, None) == set(ids[1100:])


# Tenants


@pytest.mark.parametrize(
    "other",
    [
        Scope(tenant="rival", collection="handbook"),
        Scope(tenant="acme", collection="other"),
        Scope(tenant="handbook", collection="acme"),
    ],
    ids=["tenant", "collection", "swapped"],
)
async def test_scopes_never_see_each_other(index: StoredIndex, scope: Scope, other: Scope) -> None:
    [mine], [theirs] = corpus("the cat"), corpus("the cat is here")
    assert mine.id == theirs.id
    await index.upsert(scope, make_points([mine]))
    assert await index.chunk_ids(other, None) == set()
    await index.upsert(other, make_points([theirs, *corpus("a", "b cat", document_id="more")]))
    assert await index.fetch(scope, [mine.id]) == [mine]
    assert await found(index, scope, sparse_leg("cat")) == [mine.id]
    assert await found(index, scope, dense_leg("cat")) == [mine.id]
    assert await index.idf(scope, [await term_of("cat")]) == pytest.approx([bm25_idf(1, 1)])
    await index.delete(other, [theirs.id])
    assert await index.fetch(scope, [mine.id]) == [mine]
