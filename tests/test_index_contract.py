"""What every index keeps to. A new back end joins by one line in `index`."""

from __future__ import annotations

import asyncio
import math
import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from rag.errors import InputError
from rag.protocols import Index, StoredIndex
from rag.text.passages import passage_text
from rag.types import Chunk, Condition, Leg, Match, MetaValue, Op, Point, Scope
from retrieval.bm25 import Bm25Encoder, bm25_idf
from retrieval.indexes.edge import EdgeIndex
from retrieval.indexes.qdrant import QdrantIndex
from retrieval.indexes.qdrant_points import Layout
from retrieval.indexes.rank_bm25 import RankBm25Index
from tests.fakes import (
    HashEmbedder,
    MemoryIndex,
    dense_leg,
    in_memory,
    make_chunk,
    make_points,
    sparse_leg,
)
from tests.qdrant_grpc import grpc_qdrant
from tests.qdrant_rest import rest_qdrant
from tests.qdrant_servers import NO_INDEXES, local_qdrant, real_qdrant, remove_collections

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop"), NO_INDEXES]

EMBEDDER = HashEmbedder()
DIM = EMBEDDER.dim
ASKED = "cat dog"
NOWHERE = str(uuid.uuid4())


SERVED = {"qdrant_server_grpc": True, "qdrant_server_rest": False}
"""Kinds of index on the server that `QDRANT_URL` names, and whether they speak gRPC."""


KINDS = [
    *("memory", "edge", "rank_bm25"),
    *("qdrant", "qdrant_grpc", "qdrant_rest", "qdrant_shards"),
    *SERVED,
]


@pytest.fixture(params=KINDS)
async def index(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[StoredIndex]:
    edge = EdgeIndex(folder / "index", dim=DIM)
    match request.param:
        case "memory":
            yield MemoryIndex()
        case "edge":
            yield edge
        case "rank_bm25":
            yield RankBm25Index(edge, encoder=Bm25Encoder())
        case "qdrant":
            async with local_qdrant() as server:
                yield QdrantIndex(server, dim=DIM)
        case "qdrant_grpc":
            async with grpc_qdrant() as server:
                yield QdrantIndex(server, dim=DIM)
        case "qdrant_rest":
            async with rest_qdrant() as server:
                yield QdrantIndex(server, dim=DIM)
        case "qdrant_shards":
            async with grpc_qdrant() as server:
                yield QdrantIndex(server, dim=DIM, layout=Layout(shards=3))
        case kind:
            async with real_qdrant(prefer_grpc=SERVED[kind]) as server:
                prefix = f"test_{uuid.uuid4().hex}_"
                layout = Layout(shards=int(os.environ.get("QDRANT_SHARDS", "1")))
                yield QdrantIndex(server, dim=DIM, prefix=prefix, layout=layout)
                await remove_collections(server, prefix)
    await edge.close()


def corpus(*texts: str, document_id: str = "doc", **fields: Any) -> list[Chunk]:
    return [
        make_chunk(text, document_id=document_id, position=i, **fields)
        for i, text in enumerate(texts)
    ]


async def found(index: Index, scope: Scope, leg: Leg) -> list[str]:
    return [match.chunk_id for match in (await index.search(scope, [leg]))[0]]


async def term_of(word: str) -> int:
    return int(Bm25Encoder().encode([word])[0].indices[0])


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


async def test_an_unknown_scope_is_empty_to_every_call(index: Index, scope: Scope) -> None:
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


async def test_a_collection_of_stop_words_alone_can_be_searched(index: Index, scope: Scope) -> None:
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
    index: Index, scope: Scope
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
async def test_scopes_never_see_each_other(index: Index, scope: Scope, other: Scope) -> None:
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


# Filters


def at(field: str, op: Op, value: MetaValue) -> Condition:
    return Condition(field=field, op=op, value=value)


def as_tuple(value: MetaValue) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


FILTERED: dict[str, dict[str, Any]] = {
    "a": {
        "document_id": "doc-a",
        "title": "Alpha",
        "uri": "file:///a.md",
        "page": 1,
        "meta": {
            "kind": "guide",
            "year": 2020,
            "score": 1.5,
            "draft": True,
            "published": "2020-05-31",
            "tags": ("x", "y"),
            "mixed": "2020",
        },
    },
    "b": {
        "document_id": "doc-b",
        "title": "Beta",
        "uri": "file:///b.md",
        "page": 2,
        "meta": {
            "kind": "spec",
            "year": 2021,
            "score": 2.0,
            "draft": False,
            "published": "2021-01-01T12:00:00Z",
            "tags": ("y", 7),
            "mixed": 2020,
        },
    },
    "c": {
        "document_id": "doc-c",
        "title": "Gamma",
        "uri": "file:///c.md",
        "page": None,
        "meta": {
            "kind": "guide",
            "year": 2022,
            "score": -1.0,
            "draft": False,
            "published": "2022-01-01T00:30:00+02:00",
            "tags": "z",
            "mixed": True,
        },
    },
    "d": {
        "document_id": "doc-d",
        "title": "Delta",
        "uri": "file:///d.md",
        "page": 40,
        "meta": {"year": (2020, 2022), "draft": "true", "mixed": "2020-05-31", "published": "soon"},
    },
}

CASES: list[tuple[str, Condition | tuple[Condition, ...]]] = [
    # strings
    ("ac", at("kind", "eq", "guide")),
    ("", at("kind", "eq", "Guide")),
    ("b", at("kind", "in", ("spec", "other"))),
    ("abc", at("kind", "in", ("spec", "guide"))),
    ("ac", at("kind", "in", "guide")),
    ("", at("kind", "in", ())),
    # integers and floats are numbers alike
    ("ad", at("year", "eq", 2020)),
    ("ad", at("year", "eq", 2020.0)),
    ("", at("year", "eq", "2020")),
    ("abd", at("year", "in", (2020, 2021))),
    ("bcd", at("year", "gt", 2020)),
    ("abcd", at("year", "gte", 2020)),
    ("ad", at("year", "lt", 2021)),
    ("abd", at("year", "lte", 2021.5)),
    ("a", at("score", "eq", 1.5)),
    ("b", at("score", "eq", 2)),
    ("c", at("score", "lt", 0)),
    ("ab", at("score", "gt", -1)),
    # truth values are neither numbers nor words
    ("a", at("draft", "eq", True)),
    ("bc", at("draft", "eq", False)),
    ("d", at("draft", "eq", "true")),
    ("", at("draft", "eq", 1)),
    ("abc", at("draft", "in", (True, False))),
    ("ad", at("draft", "in", (True, "true"))),
    # dates, with and without a time of day
    ("bc", at("published", "gt", "2020-05-31")),
    ("abc", at("published", "gte", "2020-05-31")),
    ("a", at("published", "lt", "2021-01-01T12:00:00Z")),
    ("ab", at("published", "lte", "2021-01-01T13:00:00+01:00")),
    ("abc", at("published", "lt", "2022-01-01")),  # 00:30 at +02:00 is the evening before
    ("b", at("published", "eq", "2021-01-01T12:00:00Z")),
    ("a", at("published", "eq", "2020-05-31")),
    ("d", at("published", "eq", "soon")),
    ("", at("published", "gt", 2020)),
    # lists hold where any item does
    ("ab", at("tags", "eq", "y")),
    ("ac", at("tags", "in", ("x", "z"))),
    ("b", at("tags", "gte", 7)),
    ("b", at("tags", "eq", 7)),
    # one field, many types
    ("a", at("mixed", "eq", "2020")),
    ("b", at("mixed", "eq", 2020)),
    ("c", at("mixed", "eq", True)),
    ("d", at("mixed", "gte", "2020-01-01")),
    ("b", at("mixed", "gte", 2000)),
    ("abc", at("mixed", "in", ("2020", 2020, True))),
    # the chunk's own fields
    ("a", at("document_id", "eq", "doc-a")),
    ("ab", at("document_id", "in", ("doc-a", "doc-b"))),
    ("b", at("uri", "eq", "file:///b.md")),
    ("c", at("title", "eq", "Gamma")),
    ("bd", at("page", "gte", 2)),
    ("a", at("page", "eq", 1)),
    # all conditions hold
    ("c", (at("kind", "eq", "guide"), at("year", "gt", 2020))),
    ("", (at("kind", "eq", "guide"), at("kind", "eq", "spec"))),
    ("b", (at("year", "gte", 2021), at("year", "lte", 2021), at("draft", "eq", False))),
]


async def filtered(index: Index, scope: Scope) -> dict[str, str]:
    """Fills the scope; the letter of each chunk by its id."""
    chunks = {name: make_chunk(f"cat {name}{name}", **doc) for name, doc in FILTERED.items()}
    await index.upsert(scope, make_points(chunks.values()))
    return {chunk.id: name for name, chunk in chunks.items()}


async def test_filters_keep_exactly_the_chunks_they_name(index: Index, scope: Scope) -> None:
    names = await filtered(index, scope)
    for expected, case in CASES:
        where = case if isinstance(case, tuple) else (case,)
        legs = [dense_leg("cat", *where), sparse_leg("cat", *where)]
        for matches in await index.search(scope, legs):
            assert "".join(sorted(names[m.chunk_id] for m in matches)) == expected, where


async def test_a_filter_on_a_field_whose_first_value_was_of_another_type_still_holds(
    index: Index, scope: Scope
) -> None:
    chunks = [
        make_chunk("cat", position=i, meta={"field": value})
        for i, value in enumerate(["word", 3, True, "2024-05-31"])
    ]
    for point in make_points(chunks):
        await index.upsert(scope, [point])
    for chunk in chunks:
        condition = at("field", "eq", chunk.meta["field"])
        assert await found(index, scope, dense_leg("cat", condition)) == [chunk.id]
    assert await found(index, scope, dense_leg("cat", at("field", "gt", 2))) == [chunks[1].id]
    late = at("field", "gt", "2024-01-01")
    assert await found(index, scope, dense_leg("cat", late)) == [chunks[3].id]


async def test_filters_hold_before_ranking(index: Index, scope: Scope) -> None:
    chunks = [
        make_chunk("cat " * (1 + i) + "dog " * (60 - i), position=i, meta={"n": i})
        for i in range(60)
    ]
    await index.upsert(scope, make_points(chunks))
    for make in (dense_leg, sparse_leg):
        worst = (await found(index, scope, make("cat")))[-1]
        n = next(chunk.meta["n"] for chunk in chunks if chunk.id == worst)
        assert await found(index, scope, make("cat", at("n", "eq", n), limit=1)) == [worst]


@pytest.mark.parametrize("make", [dense_leg, sparse_leg])
async def test_a_filter_on_an_unknown_field_is_refused_and_the_nearest_one_named(
    index: Index, scope: Scope, make: Any
) -> None:
    await filtered(index, scope)
    with pytest.raises(InputError, match=r"No .* field 'publishd'.*Did you mean 'published'\?"):
        await index.search(scope, [make("cat", at("publishd", "gt", "2020-01-01"))])
    with pytest.raises(InputError, match=r"Known fields: .*document_id.*kind.*title") as caught:
        await index.search(scope, [make("cat", at("zzz", "eq", 1))])
    assert caught.value.code == "unknown_field"


@pytest.mark.parametrize("make", [dense_leg, sparse_leg])
@pytest.mark.parametrize("bound", ["soon", "2024", True, ""])
async def test_a_range_takes_a_number_or_a_date_and_nothing_else(
    index: Index, scope: Scope, make: Any, bound: MetaValue
) -> None:
    await filtered(index, scope)
    for field in ("published", "page", "kind"):
        with pytest.raises(InputError, match="takes a number or an ISO date"):
            await index.search(scope, [make("cat", at(field, "gt", bound))])


@pytest.mark.parametrize("make", [dense_leg, sparse_leg])
@pytest.mark.parametrize("bound", ["2024-13-01", "2024-02-30", "2024-05-31T25:00:00"])
async def test_a_date_that_is_on_no_calendar_is_refused(
    index: Index, scope: Scope, make: Any, bound: str
) -> None:
    await filtered(index, scope)
    with pytest.raises(InputError, match="takes a number or an ISO date"):
        await index.search(scope, [make("cat", at("published", "gt", bound))])


async def test_a_value_that_looks_like_a_date_and_is_none_is_an_ordinary_word(
    index: Index, scope: Scope
) -> None:
    chunk, real = corpus("cat", "cat dog")
    chunk = replace(chunk, meta={"date": "2024-13-45"})
    real = replace(real, meta={"date": "2024-05-31"})
    await index.upsert(scope, make_points([chunk, real]))
    assert await found(index, scope, dense_leg("cat", at("date", "gt", "2020-01-01"))) == [real.id]
    assert await found(index, scope, dense_leg("cat", at("date", "eq", "2024-13-45"))) == [chunk.id]


@pytest.mark.parametrize("make", [dense_leg, sparse_leg])
@pytest.mark.parametrize("op", ["eq", "gt", "lte"])
async def test_an_operator_that_compares_with_one_value_refuses_a_list(
    index: Index, scope: Scope, make: Any, op: Op
) -> None:
    await filtered(index, scope)
    with pytest.raises(InputError, match="takes one value, not a list"):
        await index.search(scope, [make("cat", at("year", op, (2020, 2021)))])


# Inverse document frequency


async def test_idf_is_bm25s_for_seen_and_unseen_terms_also_after_deletes(
    index: Index, scope: Scope
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
"""What half a byte a number may cost a cosine."""


def exact(question: str, chunk: Chunk) -> float:
    """Sum over the question's words of the best cosine with any of the chunk's."""
    asked, told = (EMBEDDER.tokens(t).astype(np.float32) for t in (question, passage_text(chunk)))
    return float((asked @ told.T).max(axis=1).sum())


async def max_sim(index: Index, scope: Scope, chunks: Sequence[Chunk]) -> dict[str, float]:
    asked = EMBEDDER.tokens(ASKED).astype(np.float32)
    return await index.max_sim(scope, asked, [chunk.id for chunk in chunks])


def nearly(chunks: Sequence[Chunk]) -> Any:
    return pytest.approx({c.id: exact(ASKED, c) for c in chunks}, abs=PRECISION)


async def test_late_interaction_sums_up_the_best_match_of_each_token(
    index: Index, scope: Scope
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
    index: Index, scope: Scope
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


# Against the exact one


scalars = (
    st.sampled_from(["red", "blue", "2020", "2024-05-31", "2024-06-01", "2024-05-31T10:00:00Z"])
    | st.integers(-2, 3)
    | st.sampled_from([-1.5, 0.0, 1.0, 2.5])
    | st.booleans()
)
values = scalars | st.lists(scalars, max_size=3).map(tuple)
fields = st.sampled_from(["colour", "n", "when.at"])
metas = st.lists(st.dictionaries(fields, values, max_size=3), min_size=1, max_size=12)
bounds = st.sampled_from(["2024-05-31", "2024-05-31T12:00:00+02:00"]) | st.integers(-2, 3)
conditions = (
    st.builds(at, fields, st.just("eq"), scalars)
    | st.builds(at, fields, st.just("in"), values)
    | st.builds(at, fields, st.sampled_from(["gt", "gte", "lt", "lte"]), bounds)
)


async def outcome(index: Index, where: Sequence[Condition]) -> list[set[str]] | str:
    scope = Scope(tenant="t", collection="c")
    try:
        legs = [dense_leg("cat", *where), sparse_leg("cat", *where)]
        return [{m.chunk_id for m in matches} for matches in await index.search(scope, legs)]
    except InputError as error:
        return str(error)


@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(metas, st.lists(st.lists(conditions, min_size=1, max_size=2), min_size=4, max_size=12))
def test_filters_mean_the_same_to_edge_and_client_as_in_memory(
    metas: list[dict[str, MetaValue]], filters: list[list[Condition]]
) -> None:
    chunks = [make_chunk("cat", position=i, meta=meta) for i, meta in enumerate(metas)]
    points = make_points(chunks)

    async def compare(folder: str) -> None:
        scope = Scope(tenant="t", collection="c")
        edge, memory = EdgeIndex(Path(folder), dim=DIM), MemoryIndex()
        await edge.upsert(scope, points)
        await memory.upsert(scope, points)
        async with local_qdrant() as server:
            qdrant = QdrantIndex(server, dim=DIM)
            await qdrant.upsert(scope, points)
            for where in filters:
                exact = await outcome(memory, where)
                assert await outcome(edge, where) == exact, where
                assert await outcome(qdrant, where) == exact, where
        await edge.close()

    with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
        asyncio.run(compare(folder))


@pytest.mark.parametrize("length", [1, 3, 30])
async def test_memory_and_edge_agree_on_bm25_scores_where_the_mean_length_never_changed(
    folder: Path, scope: Scope, length: int
) -> None:
    texts = [" ".join(["cat", "dog", "mouse"][: 1 + i % 3] + ["fish"] * length) for i in range(9)]
    points = make_points(corpus(*texts))
    edge, memory = EdgeIndex(folder, dim=DIM), MemoryIndex()
    await edge.upsert(scope, points)
    await memory.upsert(scope, points)
    leg = sparse_leg("cat mouse mouse fish")
    [ours], [exact] = await edge.search(scope, [leg]), await memory.search(scope, [leg])
    assert scores(ours) == pytest.approx(scores(exact), rel=1e-4)
    await edge.close()


def scores(matches: Sequence[Match]) -> dict[str, float]:
    assert all(math.isfinite(m.score) for m in matches)
    return {m.chunk_id: m.score for m in matches}


# Versions


async def searched(index: StoredIndex, scope: Scope) -> list[Chunk]:
    [dense] = await index.search(scope, [dense_leg("cat")])
    return await index.fetch(scope, [match.chunk_id for match in dense])


async def test_a_version_is_filled_beside_what_is_searched_and_switched_to_and_back(
    index: StoredIndex, scope: Scope
) -> None:
    [old, new, late] = corpus("cat one", "cat two", "cat three")
    assert await index.previous_version(scope) is None
    await index.upsert(scope, make_points([old]))
    version = await index.begin_version(scope)
    assert await index.chunk_ids(version, None) == set()
    await index.upsert(version, make_points([new]))
    await index.maintain(version)
    assert (await searched(index, scope), await searched(index, version)) == ([old], [new])
    await index.switch_version(scope, version)
    assert await searched(index, scope) == [new]
    await index.upsert(scope, make_points([late]))
    previous = await index.previous_version(scope)
    assert previous is not None
    assert await searched(index, previous) == [old]
    await index.switch_version(scope, previous)
    assert await searched(index, scope) == [old]
    again = await index.previous_version(scope)
    assert again is not None
    assert await index.chunk_ids(again, None) == {new.id, late.id}


async def test_what_is_searched_has_a_name_until_the_next_switch(
    index: StoredIndex, scope: Scope
) -> None:
    [old, new, late] = corpus("cat one", "cat two", "cat three")
    assert await index.version(scope) == ""
    await index.upsert(scope, make_points([old]))
    first = await index.version(scope)
    version = await written(index, scope, new)
    await index.upsert(scope, make_points([late]))
    assert await index.version(scope) == first != ""
    await index.switch_version(scope, version)
    assert await index.version(scope) not in ("", first)
    previous = await index.previous_version(scope)
    assert previous is not None
    await index.switch_version(scope, previous)
    assert await index.version(scope) == first


async def test_a_version_keeps_its_name_as_it_is_switched_to(
    index: StoredIndex, scope: Scope
) -> None:
    [old, new] = corpus("cat one", "cat two")
    assert await index.name_of(scope) == ""
    await index.upsert(scope, make_points([old]))
    first = await index.name_of(scope)
    version = await written(index, scope, new)
    second = await index.name_of(version)
    assert await index.name_of(scope) == first
    assert len({first, second, ""}) == 3
    await index.switch_version(scope, version)
    assert await index.name_of(scope) == second
    previous = await index.previous_version(scope)
    assert previous is not None
    assert await index.name_of(previous) == first


async def test_all_chunks_of_a_scope_and_of_no_other_come_in_pages(
    index: StoredIndex, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(scope, tenant="rival")
    monkeypatch.setattr("retrieval.indexes.edge_shard.PAGE", 3)
    monkeypatch.setattr("retrieval.indexes.qdrant_reads.PAGE", 3)
    assert [chunk async for page in index.pages(scope) for chunk in page] == []
    chunks = corpus(*(f"cat {i}" for i in range(8)))
    await index.upsert(scope, make_points(chunks))
    await index.upsert(other, make_points(corpus("dog", document_id="theirs")))
    seen = [chunk async for page in index.pages(scope) for chunk in page]
    assert sorted(chunk.id for chunk in seen) == sorted(chunk.id for chunk in chunks)
    assert {chunk.id: chunk for chunk in seen} == {chunk.id: chunk for chunk in chunks}


async def test_only_the_last_version_is_kept_and_what_was_begun_starts_over(
    index: StoredIndex, scope: Scope
) -> None:
    chunks = corpus("cat one", "cat two", "cat three")
    for chunk in chunks:
        await index.upsert(await index.begin_version(scope), make_points([chunk]))  # left
        version = await index.begin_version(scope)
        assert await index.chunk_ids(version, None) == set()
        await index.upsert(version, make_points([chunk]))
        await index.switch_version(scope, version)
        assert await searched(index, scope) == [chunk]
    previous = await index.previous_version(scope)
    assert previous is not None
    assert await searched(index, previous) == [chunks[1]]


async def test_what_is_deleted_goes_from_the_previous_version_with_its_whole_document(
    index: StoredIndex, scope: Scope
) -> None:
    first = corpus("cat one", "cat two", document_id="first")
    [second] = corpus("cat three", document_id="second")
    await index.upsert(scope, make_points([*first, second]))
    [cut_anew] = corpus("cat one and two", document_id="first", version="2")
    version = await index.begin_version(scope)
    await index.upsert(version, make_points([cut_anew, second]))
    await index.switch_version(scope, version)
    await index.delete(scope, [NOWHERE])
    previous = await index.previous_version(scope)
    assert previous is not None
    assert len(await searched(index, previous)) == 3
    await index.delete(scope, [cut_anew.id])
    assert await searched(index, scope) == [second]
    assert await searched(index, previous) == [second]
    await index.delete(previous, [second.id])
    assert await searched(index, scope) == [second]


async def test_a_collection_s_versions_leave_other_collections_alone(
    index: StoredIndex, scope: Scope
) -> None:
    other = replace(scope, collection=f"{scope.collection}-next")
    [one, two] = corpus("cat one", "cat two")
    await index.upsert(scope, make_points([one]))
    await index.upsert(other, make_points([two]))
    await index.switch_version(scope, await written(index, scope, one))
    assert await searched(index, other) == [two]
    assert await index.previous_version(other) is None


async def written(index: StoredIndex, scope: Scope, chunk: Chunk) -> Scope:
    version = await index.begin_version(scope)
    await index.upsert(version, make_points([chunk]))
    return version
