"""The bound on values in filters, and the lookups that an index gets."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from rag.api.openai.chat_request import ChatRequest
from rag.api.schemas import QueryRequest, SearchRequest
from rag.api.shapes import FILTER_VALUES
from rag.types import Condition
from retrieval.indexes.filters import OneOf, Within, clauses
from retrieval.indexes.matching import matcher
from tests.fakes import make_chunk

MESSAGE = f"may hold {FILTER_VALUES:,} together"


def asked(*lengths: int) -> list[dict[str, Any]]:
    return [{"field": "n", "op": "in", "value": list(range(length))} for length in lengths]


@pytest.mark.parametrize("lengths", [(FILTER_VALUES + 1,), (FILTER_VALUES, 1), (100_000,)])
def test_more_values_than_a_question_may_hold_are_refused(lengths: tuple[int, ...]) -> None:
    filters = asked(*lengths)
    for refused in (
        lambda: SearchRequest(query="x", filters=filters),
        lambda: QueryRequest(query="x", filters=filters),
        lambda: ChatRequest.model_validate(
            {
                "model": "m",
                "messages": [{"role": "user", "content": "x"}],
                "plumbline": {"filters": filters},
            }
        ),
    ):
        with pytest.raises(ValidationError, match=MESSAGE) as caught:
            refused()
        assert caught.value.error_count() == 1


def test_as_many_as_it_may_hold_are_taken() -> None:
    half = FILTER_VALUES // 2
    for lengths in ((FILTER_VALUES,), (half, half)):
        filters = SearchRequest(query="x", filters=asked(*lengths)).filters
        assert [f.condition().value for f in filters] == [tuple(range(n)) for n in lengths]


def test_the_bound_of_a_list_is_in_the_schema() -> None:
    forms = SearchRequest.model_json_schema()["$defs"]["Filter"]["anyOf"]
    [listed] = [form for form in forms if form["properties"]["op"] == {"const": "in"}]
    bounds = [e for e in listed["properties"]["value"]["anyOf"] if e.get("type") == "array"]
    assert [(each["minItems"], each["maxItems"]) for each in bounds] == [(1, FILTER_VALUES)]


def test_words_are_looked_up_together_and_each_value_once() -> None:
    values = ("red", "blue", "red", True, "true", 2, 2.0, 1, "2024-05-31")
    assert clauses(Condition(field="f", op="in", value=values)) == [
        OneOf('where."f".keyword', ("red", "blue", "true", "2024-05-31")),
        OneOf('where."f".flag', ("true",)),
        Within('where."f".number', "number", {"gte": 2, "lte": 2}),
        Within('where."f".number', "number", {"gte": 1, "lte": 1}),
        Within(
            'where."f".date', "date", dict.fromkeys(("gte", "lte"), "2024-05-31T00:00:00.000000Z")
        ),
    ]


def test_in_memory_a_truth_value_is_no_number_and_two_is_two() -> None:
    chunk = make_chunk("cat", meta={"n": (2.0, True), "word": "true"})

    def fits(field: str, *values: str | float | bool) -> bool:
        return matcher([Condition(field=field, op="in", value=values)])(chunk)

    assert fits("n", 7, 2)
    assert fits("n", True)
    assert not fits("n", 1)
    assert not fits("word", True)
    assert not fits("absent", "true")
    assert not matcher([Condition(field="n", op="gt", value=2)])(chunk)
