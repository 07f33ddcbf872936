"""Conditions in the index's own terms, so that they are applied before ranking."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import qdrant_edge as qe

from rag.errors import InputError, UnknownFieldError
from rag.types import Condition, Scalar
from rag.types.acl import Readers
from retrieval.indexes.payload import (
    ACL,
    OWN_FIELDS,
    date_of,
    field_type,
    kind_in,
    path_of,
    word_of,
)

EACH_WORD = 128
"""Words of readers up to which each has a condition of its own where points are listed. The engine
lists the points of one condition with several words through a hash set, which takes three times as
long; but it compares each condition with all others."""
CONDITIONS_KEPT = 64
"""Sets of readers whose condition is held: for 900 words it takes 0.3 ms to make, and each leg has
it. In the process 64 of 1,000 words take 7 MB."""
_BOUNDS = ("gt", "gte", "lt", "lte")


def check(where: Sequence[Condition], known: Collection[str]) -> None:
    """Refuses conditions that cannot hold: a typo must not look like an empty result.

    Raises:
        InputError: No document has the field, or its operator does not take such a value.
    """
    fields = sorted({*known, *OWN_FIELDS})
    for condition in where:
        if condition.field not in fields:
            near = get_close_matches(condition.field, fields, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UnknownFieldError(
                f"No document in this collection has a field {condition.field!r}.{hint}"
                f" Known fields: {', '.join(fields)}."
            )
        check_value(condition)


def check_value(condition: Condition) -> None:
    """Refuses a value that the operator does not take, whatever the documents hold.

    Raises:
        InputError: The value is a list, or a bound that is neither a number nor a date.
    """
    field, op, value = condition.field, condition.op, condition.value
    if op == "in":
        return
    if isinstance(value, tuple):
        raise InputError(f"{op!r} on {field!r} takes one value, not a list.", code="invalid_filter")
    if op in _BOUNDS and field_type(value) not in ("number", "date"):
        # Here: the process that rebuilds a shard needs no Pydantic.
        from rag.text.validation_errors import shortened

        raise InputError(
            f"{op!r} on {field!r} takes a number or an ISO date such as 2024-05-31 or"
            f" 2024-05-31T14:30:00+02:00, not {shortened(repr(value))}.",
            code="invalid_filter",
        )


class OneOf(NamedTuple):
    """The values at `path` hold one of these words."""

    path: str
    words: tuple[str, ...]


class Within(NamedTuple):
    """The values at `path` hold a number, or a moment, within these bounds."""

    path: str
    kind: Literal["number", "date"]
    bounds: Mapping[str, Scalar]
    """Bounds by operator: gt, gte, lt, lte; moments as `date_of` spells them."""


Clause = OneOf | Within


def clauses(condition: Condition) -> list[Clause]:
    """Returns the clauses of which one must hold; if there are none, no point matches.

    Words are combined in one clause for each path: an index looks a word up among a thousand as
    fast as one, and tries a thousand clauses one by one.
    """
    value, field, op = condition.value, condition.field, condition.op
    items = [
        (kind_in(field, item), item) for item in (value if isinstance(value, tuple) else (value,))
    ]
    # 2 and 2.0 are the same number, and noon in Oslo is the same moment as eleven in London.
    numbers = dict.fromkeys(item for kind, item in items if kind == "number")
    dates = dict.fromkeys(date_of(item) for kind, item in items if kind == "date")
    bounds = (op,) if op in _BOUNDS else ("gte", "lte")
    within = [
        *(Within(path_of(field, "number"), "number", dict.fromkeys(bounds, n)) for n in numbers),
        *(Within(path_of(field, "date"), "date", dict.fromkeys(bounds, d)) for d in dates),
    ]
    if op in _BOUNDS:
        return [*within]
    words: dict[str, dict[str, None]] = {}
    for kind, item in items:
        if kind in ("keyword", "date", "flag"):
            path = path_of(field, "flag" if kind == "flag" else "keyword")
            words.setdefault(path, {})[str(word_of(item))] = None
    return [*(OneOf(path, tuple(each)) for path, each in words.items()), *within]


def to_edge(where: Sequence[Condition], readers: Readers | None = None) -> qe.Filter | None:
    """Joins conditions, already checked, and that of readers by AND; None if there are none."""
    must = [*edge_readable(readers), *(_any(clauses(c)) for c in where)]
    return qe.Filter(must=[*must]) if must else None


def edge_readable(readers: Readers | None) -> list[Any]:
    """Returns the condition that these readers may read a point; none for None."""
    if readers is None:
        return []
    if not readers:
        return [qe.HasIdCondition(set())]
    return [_readable(readers)]


@lru_cache(maxsize=CONDITIONS_KEPT)
def _readable(readers: Readers) -> qe.FieldCondition:
    return qe.FieldCondition(key=ACL, match=qe.MatchAny(sorted(readers)))


def edge_corpus(readers: Readers) -> qe.Filter:
    """Selects what these readers may read, for a filter whose points are all listed.

    A filter by which points are tested one by one takes `edge_readable`.
    """
    if not 0 < len(readers) <= EACH_WORD:
        return qe.Filter(must=[*edge_readable(readers)])
    words = [qe.FieldCondition(key=ACL, match=qe.MatchValue(word)) for word in sorted(readers)]
    return qe.Filter(should=[*words])


def _any(alternatives: Sequence[Clause]) -> qe.Filter:
    if not alternatives:  # an empty filter would match every chunk
        return qe.Filter(should=[qe.HasIdCondition(set())])
    return qe.Filter(should=[_edge_condition(clause) for clause in alternatives])


def _edge_condition(clause: Clause) -> qe.FieldCondition:
    if isinstance(clause, OneOf):
        return qe.FieldCondition(key=clause.path, match=qe.MatchAny(list(clause.words)))
    bounds: Any = {name: clause.bounds.get(name) for name in _BOUNDS}
    range_ = qe.RangeFloat(**bounds) if clause.kind == "number" else qe.RangeDateTime(**bounds)
    return qe.FieldCondition(key=clause.path, range=range_)
