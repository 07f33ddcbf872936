"""Tests conditions on chunks in memory; the filters of every index have this meaning."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from rag.types import Chunk, Condition, MetaValue, Op, Scalar
from retrieval.indexes.payload import OWN_FIELDS, field_type

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
        # True does not equal 1 here, and 2.0 equals 2.
        same = {(isinstance(each, bool), each) for each in wanted}
        return lambda item: (isinstance(item, bool), item) in same
    return lambda item: _compare(condition.op, item, wanted[0])


def _compare(op: Op, item: Scalar, bound: Scalar) -> bool:
    kind = field_type(bound)
    if field_type(item) != kind:
        return False
    compare = _COMPARE[op]
    if kind == "number":
        return bool(compare(item, bound))
    return bool(compare(_instant(str(item)), _instant(str(bound))))


def _instant(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
