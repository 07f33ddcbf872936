"""Conditions in the index's own terms, so that they hold before ranking."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any

import qdrant_edge as qe

from rag.errors import InputError
from rag.types import Condition, MetaValue, Scalar
from retrieval.payload import OWN_FIELDS, field_type, path_of, word_of

_BOUNDS = ("gt", "gte", "lt", "lte")


def check(where: Sequence[Condition], known: Collection[str]) -> None:
    """Refuses conditions that cannot hold: a typo must not look like «no hits».

    Raises:
        InputError: no document has the field, or its operator does not take such a value.
    """
    fields = sorted({*known, *OWN_FIELDS})
    for condition in where:
        if condition.field not in fields:
            near = get_close_matches(condition.field, fields, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise InputError(
                f"No document in this collection has a field {condition.field!r}.{hint}"
                f" Known fields: {', '.join(fields)}.",
                code="unknown_field",
            )
        _check_value(condition.field, condition.op, condition.value)


def _check_value(field: str, op: str, value: MetaValue) -> None:
    if op == "in":
        return
    if isinstance(value, tuple):
        raise InputError(f"{op!r} on {field!r} takes one value, not a list.", code="invalid_filter")
    if op in _BOUNDS and field_type(value) not in ("number", "date"):
        raise InputError(
            f"{op!r} on {field!r} takes a number or an ISO date such as 2024-05-31, not {value!r}.",
            code="invalid_filter",
        )


def to_edge(where: Sequence[Condition]) -> qe.Filter | None:
    """All conditions, checked before, joined by AND; None where there are none."""
    return qe.Filter(must=[_condition(c) for c in where]) if where else None


def _condition(condition: Condition) -> qe.Filter:
    value = condition.value
    conditions: list[Any] = [
        _range(condition.field, condition.op, item)
        if condition.op in _BOUNDS
        else _equal(condition.field, item)
        for item in (value if isinstance(value, tuple) else (value,))
        if condition.field != "page" or field_type(item) == "number"
    ]
    nothing = qe.HasIdCondition(set())  # no condition at all would hold for every chunk
    return qe.Filter(should=[*conditions, nothing])


def _equal(field: str, value: Scalar) -> qe.FieldCondition:
    kind = field_type(value)
    if kind == "number":  # 2 and 2.0 are the same number
        bounds: Any = {"gte": value, "lte": value}
        return qe.FieldCondition(key=path_of(field, kind), range=qe.RangeFloat(**bounds))
    path = path_of(field, "flag" if kind == "flag" else "keyword")
    word: Any = word_of(value)
    return qe.FieldCondition(key=path, match=qe.MatchValue(word))


def _range(field: str, op: str, value: Scalar) -> qe.FieldCondition:
    kind = field_type(value)
    bounds: Any = {name: value if name == op else None for name in _BOUNDS}
    range_ = qe.RangeFloat(**bounds) if kind == "number" else qe.RangeDateTime(**bounds)
    return qe.FieldCondition(key=path_of(field, kind), range=range_)
