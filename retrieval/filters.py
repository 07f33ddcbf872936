"""Conditions in the index's own terms, so that they hold before ranking."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from difflib import get_close_matches

import qdrant_edge as qe

from rag.errors import InputError
from rag.types import Condition, Scalar
from retrieval.payload import OWN_FIELDS, field_type, path_of

_BOUNDS = ("gt", "gte", "lt", "lte")


def check_fields(where: Sequence[Condition], known: Collection[str]) -> None:
    """Raises InputError for a field that no document has: a typo must not look like «no hits»."""
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


def to_edge(where: Sequence[Condition]) -> qe.Filter | None:
    """All conditions, joined by AND; None where there are none."""
    return qe.Filter(must=[_condition(c) for c in where]) if where else None


def _condition(condition: Condition) -> qe.FieldCondition | qe.Filter:
    value = condition.value
    if condition.op == "in":
        values = value if isinstance(value, tuple) else (value,)
        return qe.Filter(should=[_equal(condition.field, v) for v in values])
    if isinstance(value, tuple):
        raise InputError(f"{condition.op!r} on {condition.field!r} takes one value, not a list.")
    if condition.op == "eq":
        return _equal(condition.field, value)
    return _bound(condition, value)


def _equal(field: str, value: Scalar) -> qe.FieldCondition:
    kind = field_type(value)
    path = path_of(field, kind)
    if isinstance(value, bool):
        return qe.FieldCondition(key=path, match=qe.MatchValue(str(value).lower()))
    if isinstance(value, int | float):  # 2 and 2.0 are the same number
        return qe.FieldCondition(key=path, range=qe.RangeFloat(gte=value, lte=value))
    return qe.FieldCondition(key=path, match=qe.MatchValue(value))


def _bound(condition: Condition, value: Scalar) -> qe.FieldCondition:
    kind = field_type(value)
    path = path_of(condition.field, kind)
    bounds = {op: value if op == condition.op else None for op in _BOUNDS}
    if kind == "number":
        return qe.FieldCondition(key=path, range=qe.RangeFloat(**bounds))  # type: ignore[arg-type]
    if kind == "date":
        return qe.FieldCondition(key=path, range=qe.RangeDateTime(**bounds))  # type: ignore[arg-type]
    raise InputError(
        f"{condition.op!r} on {condition.field!r} takes a number or an ISO date such as"
        f" 2024-05-31, not {value!r}.",
        code="invalid_filter",
    )
