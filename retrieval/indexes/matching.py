"""Tests conditions on chunks in memory; the filters of every index have this meaning."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence

from rag.types import Chunk, Condition, MetaValue, Op, Scalar
from retrieval.indexes.payload import OWN_FIELDS, date_of, kind_in

_COMPARE = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}


def matcher(where: Sequence[Condition]) -> Callable[[Chunk], bool]:
    """Returns a test that is True if a chunk meets all conditions, which were checked before.

    On a list of values, a condition holds if any of its items meets it.
    """
    tests = [(condition.field, _test(condition)) for condition in where]
    return lambda chunk: all(
        any(fits(item) for item in _items(value_of(chunk, field))) for field, fits in tests
    )


def value_of(chunk: Chunk, field: str) -> MetaValue | None:
    """The chunk's value of a field; None where it has none."""
    value: MetaValue | None = (
        getattr(chunk, field) if field in OWN_FIELDS else chunk.meta.get(field)
    )
    return value


def _items(value: MetaValue | None) -> tuple[Scalar, ...]:
    return value if isinstance(value, tuple) else () if value is None else (value,)


def _test(condition: Condition) -> Callable[[Scalar], bool]:
    """Returns a test that is True if a value meets a condition."""
    wanted = _items(condition.value)
    if condition.op in ("eq", "in"):
        same = {key for each in wanted for key in _keys(condition.field, each)}
        return lambda item: not same.isdisjoint(_keys(condition.field, item))
    return lambda item: _compare(condition.field, condition.op, item, wanted[0])


def _keys(field: str, item: Scalar) -> tuple[object, ...]:
    """Returns keys of which equal values share one: True does not equal 1, and 2.0 equals 2."""
    key = (isinstance(item, bool), item)
    return (key, date_of(item)) if kind_in(field, item) == "date" else (key,)


def _compare(field: str, op: Op, item: Scalar, bound: Scalar) -> bool:
    kind = kind_in(field, bound)
    if kind not in ("number", "date") or kind_in(field, item) != kind:
        return False
    if kind == "date":
        item, bound = date_of(item), date_of(bound)
    return bool(_COMPARE[op](item, bound))
