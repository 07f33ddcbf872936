"""Conditions on chunks in memory: the meaning that every index's filters share."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from datetime import UTC, datetime

from rag.types import Chunk, Condition, MetaValue, Op, Scalar
from retrieval.payload import OWN_FIELDS, field_type

_COMPARE = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}


def matches(chunk: Chunk, where: Sequence[Condition]) -> bool:
    """Whether all conditions, checked before, hold; on a list, where any of its items fits."""
    return all(_holds(condition, value_of(chunk, condition.field)) for condition in where)


def value_of(chunk: Chunk, field: str) -> MetaValue | None:
    """The chunk's value of a field; None where it has none."""
    value: MetaValue | None = (
        getattr(chunk, field) if field in OWN_FIELDS else chunk.meta.get(field)
    )
    return value


def _holds(condition: Condition, value: MetaValue | None) -> bool:
    items = value if isinstance(value, tuple) else () if value is None else (value,)
    wanted = condition.value if isinstance(condition.value, tuple) else (condition.value,)
    if condition.op in ("eq", "in"):
        return any(_same(item, w) for item in items for w in wanted)
    return any(_compare(condition.op, item, wanted[0]) for item in items)


def _same(item: Scalar, wanted: Scalar) -> bool:
    return isinstance(item, bool) == isinstance(wanted, bool) and item == wanted


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
