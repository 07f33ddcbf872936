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


NOON = (
    "2024-05-31T12:00:00Z",
    "2024-05-31T12:00Z",
    "2024-05-31T12Z",
    "2024-05-31 12:00:00+00:00",
    "2024-05-31t12:00:00.000z",
    "2024-05-31T12:00:00,000000000Z",
    "2024-05-31T14:00+02:00",
    "2024-05-31T14:00:00+0200",
    "2024-05-31T05:30:00-06:30",
    "2024-05-31T11:00:00\u221201",
    "2024-06-01T02:00:00+14:00",
    "20240531T120000Z",
    "20240531T12",
    "2024-05-31T12:00:00",
    "2024-152T12:00:00Z",
    "2024152T1200Z",
    "2024-W22-5T12:00:00Z",
    "2024W225T120000Z",
    "2024-05-31T11:59:60Z",
)
"""One moment, in spellings of ISO 8601."""
MIDNIGHT = (
    "2024-05-31",
    "20240531",
    "2024-152",
    "2024-W22-5",
    "2024-05-30T24:00:00Z",
    "2024-05-31Z",
)
EDGES = (
    "0001-01-01",
    "9999-12-31T23:59:59.999999Z",
    "2024-05-31T12:00:00.000001Z",
    "2024-02-29T23:30-0100",
)


async def test_every_spelling_of_a_moment_is_the_same_moment(index: Index, scope: Scope) -> None:
    chunks = corpus(*(f"cat {'dog ' * i}" for i in range(len(NOON) + len(MIDNIGHT))))
    chunks = [
        replace(chunk, meta={"at": at_}) for chunk, at_ in zip(chunks, NOON + MIDNIGHT, strict=True)
    ]
    await index.upsert(scope, make_points(chunks))
    noon, midnight = ({c.id for c in chunks if c.meta["at"] in each} for each in (NOON, MIDNIGHT))
    limit = len(chunks)
    for same, ids, others in ((NOON, noon, midnight), (MIDNIGHT, midnight, noon)):
        for spelling in same:
            for op, expected in (
                ("eq", ids),
                ("in", ids),
                ("gte", noon | ids),
                ("lte", midnight | ids),
                ("gt", set() if same is NOON else others),
                ("lt", set() if same is MIDNIGHT else others),
            ):
                condition = at("at", op, (spelling, "soon") if op == "in" else spelling)  # type: ignore[arg-type]
                [hits] = await index.search(scope, [dense_leg("cat", condition, limit=limit)])
                assert {hit.chunk_id for hit in hits} == expected, condition


async def test_the_first_and_last_moments_are_in_order(index: Index, scope: Scope) -> None:
    chunks = [
        replace(chunk, meta={"at": at_})
        for chunk, at_ in zip(
            corpus(*("cat " * (1 + i) for i in range(len(EDGES)))), EDGES, strict=True
        )
    ]
    await index.upsert(scope, make_points(chunks))
    ordered = sorted(
        EDGES,
        key=("0001-01-01", "2024-02-29T23:30-0100", "2024-05-31T12:00:00.000001Z", EDGES[1]).index,
    )
    for place, bound in enumerate(ordered):
        hits = await found(index, scope, dense_leg("cat", at("at", "lte", bound)))
        assert {c.meta["at"] for c in chunks if c.id in hits} == set(ordered[: place + 1]), bound
    early = at("at", "lt", "2024-03-01T00:30:00.000000Z")  # 23:30 at -01:00 is the next day
    assert len(await found(index, scope, dense_leg("cat", early))) == 1


async def test_the_own_words_of_a_chunk_are_words_though_they_look_like_dates(
    index: Index, scope: Scope
) -> None:
    chunks = [
        make_chunk("cat", position=i, title=title, meta={"n": i})
        for i, title in enumerate(("2024-05-31", "20240531", "true"))
    ]
    await index.upsert(scope, make_points(chunks))
    for condition, expected in (
        (at("title", "eq", "2024-05-31"), [chunks[0].id]),
        (at("title", "in", ("20240531", True)), [chunks[1].id]),
        (at("title", "gte", "2024-01-01"), []),
        (at("title", "gte", 1), []),
        (at("page", "gte", "2024-01-01"), []),
    ):
        assert await found(index, scope, dense_leg("cat", condition)) == expected, condition


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


NO_MOMENTS = (
    "2024-13-01",
    "2024-02-30",
    "2023-366",
    "2024-W54-1",
    "2024-05",
    "0000-01-01",
    "2024-05-31T25:00:00",
    "2024-05-31T24:00:01",
    "2024-05-31T12:60",
    "2024-05-31x12:00",
    "2024-05-31T12:00+24:00",
    "9999-12-31T23:00-02:00",
    "0001-01-01T00:00+00:01",
    "2024-05-31T12:00:00.Z",
    "31.05.2024",
    "2024-05-31" + "0" * 10_000,
)


@pytest.mark.parametrize("make", [dense_leg, sparse_leg])
async def test_a_date_that_is_on_no_calendar_is_refused(
    index: Index, scope: Scope, make: Any
) -> None:
    await filtered(index, scope)
    for bound in NO_MOMENTS:
        with pytest.raises(InputError, match="takes a number or an ISO date") as caught:
            await index.search(scope, [make("cat", at("published", "gt", bound))])
        assert bound[:90] in str(caught.value)
        assert len(str(caught.value)) < 300


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
