"""The contract of `Index`: filters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rag.errors import InputError
from rag.protocols import Index
from rag.types import Condition, MetaValue, Op, Scope
from tests.fakes import (
    dense_leg,
    make_chunk,
    make_points,
    sparse_leg,
)
from tests.indexes import at, corpus, found
from tests.qdrant_servers import NO_INDEXES

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop"), NO_INDEXES]


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
    """Fills the scope; returns the letter of each chunk by its id."""
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
