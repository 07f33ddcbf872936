"""Lists of stored answers, newest first."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from rag.catalog.database import Database
from rag.catalog.forgetting import IS_STALE
from rag.catalog.tables import answers
from rag.records import ListedAnswer, Rating

PLACE = sa.tuple_(answers.c.at, answers.c.id)
"""The order of answers in time."""
_COLUMNS = [
    *(
        answers.c[name]
        for name in (
            *("id", "trace_id", "collection", "at", "reason", "confidence", "seconds", "cost"),
            *("scores", "rating", "degraded", "input_tokens", "output_tokens", "variant"),
        )
    ),
    *(
        sa.case((IS_STALE, None), else_=words).label(name)
        for name, words in (
            ("question", answers.c.content["question"].as_string()),
            ("answer", answers.c.content["answer"].as_string()),
            ("comment", answers.c.comment),
            ("correction", answers.c.correction),
        )
    ),
]


class Below(NamedTuple):
    """A limit, and the names of the scores that it applies to."""

    limit: float
    names: Collection[str]


NO_LIMIT = Below(0.0, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The answers that are listed; None: any.

    `collections` are those that they were given in. With `below`, `low` is True for answers with a
    score under that limit, False for the others.
    """

    collections: Collection[str] | None = None
    abstained: bool | None = None
    rating: Rating | None = None
    low: bool | None = None
    below: Below = NO_LIMIT


class AnswerListing:
    """Lists the answers of a tenant."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def page(
        self, tenant: str, chosen: Chosen, *, limit: int, after: tuple[float, str] | None = None
    ) -> list[ListedAnswer]:
        """Returns answers, the newest first, those of one moment by their ids.

        Args:
            tenant: whose answers they are.
            chosen: conditions on them.
            limit: the most that are returned.
            after: `at` and `id` of an answer; those behind it are returned.
        """
        query = sa.select(*_COLUMNS).where(answers.c.tenant == tenant, *_conditions(chosen))
        if after is not None:
            query = query.where(place(*after) > PLACE)
        query = query.order_by(answers.c.at.desc(), answers.c.id.desc()).limit(limit)
        return [_listed(row) for row in await self._db.rows(query)]


def place(at: float, id_: str) -> sa.ColumnElement[Any]:
    """Returns the place of an answer, to be compared with `PLACE`."""
    return sa.tuple_(sa.literal(at, sa.Float), sa.literal(id_, sa.String))


def _conditions(chosen: Chosen) -> Iterator[sa.ColumnElement[bool]]:
    if chosen.collections is not None:
        yield answers.c.collection.in_(sorted(chosen.collections))
    if chosen.abstained is not None:
        yield answers.c.reason.is_not(None) if chosen.abstained else answers.c.reason.is_(None)
    if chosen.rating is not None:
        yield answers.c.rating == chosen.rating
    if chosen.low is not None:
        is_low = sa.or_(sa.false(), *_low(chosen.below))
        yield is_low if chosen.low else ~is_low


def _low(below: Below) -> Iterator[sa.ColumnElement[bool]]:
    for name in sorted(below.names):
        score = answers.c.scores[name].as_float()
        yield sa.func.coalesce(score, below.limit) < below.limit  # most answers have no scores


def _listed(row: sa.RowMapping) -> ListedAnswer:
    return ListedAnswer(**dict(row) | {"degraded": tuple(row["degraded"])})
