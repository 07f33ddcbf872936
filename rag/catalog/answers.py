"""Answers that were given, stored in the catalog's database for scoring and feedback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import sqlalchemy as sa

from rag.catalog.answer_listing import PLACE, place
from rag.catalog.database import Database
from rag.catalog.forgetting import forget_late
from rag.catalog.rollouts import observation_row
from rag.catalog.sql import in_scope, scope_of, scope_row
from rag.catalog.tables import TO_SCORE, answer_documents, answers, rollout_observations
from rag.errors import NotFoundError
from rag.records import Arm, Feedback, LiveAnswer, Observation, Signals, Tally
from rag.types import Float32Array, Principal, Scope

LOST_SECONDS = 600.0
"""Seconds after which an answer that was given out and not scored is given out again."""
STALE_SECONDS = 3600.0
"""Seconds after which an answer is no longer scored: newer answers are worth more."""
_STORED = {field.name for field in fields(LiveAnswer)} - {"scope", "read", "feedback"}
"""The fields of an answer that are columns."""
QUALITY = ("groundedness", "citation_precision", "citation_coverage")
"""The scores that say how good an answer of a rollout is."""
SIGNALS_AT_ONCE = 5_000
"""Answers whose measurements are read in one query: others are served between two queries."""


class Answers:
    """Queries and changes of the answers table. An answer of another tenant is not found."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def keep(self, given: Sequence[LiveAnswer]) -> None:
        """Stores answers, which may be of several tenants."""
        async with self._db.write() as db:
            await db.execute(answers.insert(), [_row(answer) for answer in given])
            if read := [row for answer in given for row in _read(answer)]:
                await db.execute(answer_documents.insert(), read)

    async def claim(self, limit: int) -> list[str]:
        """Returns the ids of answers to score: never claimed ones first, the oldest of them first.

        They are of all tenants. No other caller gets them until `LOST_SECONDS` have passed.
        """
        now = time.time()
        due = sa.or_(answers.c.claimed_at.is_(None), answers.c.claimed_at < now - LOST_SECONDS)
        query = sa.select(answers.c.id).where(TO_SCORE, due)
        # Unclaimed ones first: in the order of `at` alone SQLite would look through all answers.
        query = query.order_by(answers.c.claimed_at.nulls_first(), answers.c.at)
        query = query.limit(limit).with_for_update(skip_locked=True)
        async with self._db.write() as db:
            ids = list((await db.execute(query)).scalars())
            given = answers.update().where(answers.c.id.in_(ids))
            await db.execute(given.values(claimed_at=now))
        return ids

    async def unscored(self, ids: Sequence[str]) -> list[LiveAnswer]:
        """Returns those of these answers that are still to be scored.

        The ids are those of `claim`: of all tenants.
        """
        query = answers.select().where(answers.c.id.in_(ids), answers.c.to_score)
        return [_answer(row) for row in await self._db.rows(query)]

    async def scored(
        self,
        tenant: str,
        id_: str,
        scores: Mapping[str, float],
        *,
        embedding: Float32Array | None,
        content: Mapping[str, Any] | None,
    ) -> bool:
        """Stores the scores of an answer; removes its trace, which only scoring needs.

        Args:
            tenant: whose answer it is.
            id_: the answer's.
            scores: by name, 0 to 1.
            embedding: the question's, float32[dim].
            content: replaces the stored content.

        Returns:
            True if the tenant has this answer, and it was not scored before.
        """
        values = {
            "to_score": False,
            "scores": dict(scores),
            "embedding": None if embedding is None else embedding.astype("<f4").tobytes(),
            "content": content,
            "trace": None,
        }
        mine = answers.update().where(_of(tenant, id_), answers.c.to_score).values(values)
        async with self._db.write() as db:
            if not (await db.execute(mine)).rowcount:
                return False
            row = (await db.execute(_ARM.where(_of(tenant, id_)))).mappings().one()
            # In the same transaction: scores that are stored once count once.
            if row["rollout"] is not None and (score := quality(scores)) is not None:
                seen = Observation(arm=_arm(row), tallies={"loss": Tally().plus(1 - score)})
                await db.execute(rollout_observations.insert().values(observation_row(seen)))
        return True

    async def question(self, tenant: str, id_: str) -> str | None:
        """Returns the question of an answer; None if its text is not kept."""
        query = sa.select(answers.c.content).where(_of(tenant, id_))
        found = [row["content"] for row in await self._db.rows(query)]
        return found[0]["question"] if found and found[0] else None

    async def add_feedback(self, caller: Principal, id_: str, feedback: Feedback) -> LiveAnswer:
        """Stores feedback on the answer with this id; returns the answer with its feedback.

        A value of None leaves the earlier feedback unchanged.

        Raises:
            NotFoundError: No answer with this id is kept that the caller may know of.
        """
        theirs = _of(caller.tenant, id_)
        if caller.collections is not None:
            theirs = sa.and_(theirs, answers.c.collection.in_(caller.collections))
        if caller.readers is not None:  # whoever asked, and nobody else, judges the answer
            theirs = sa.and_(theirs, answers.c.reader.in_(sorted(caller.readers)))
        given = {name: value for name, value in asdict(feedback).items() if value is not None}
        async with self._db.write() as db:
            if (await db.execute(answers.update().where(theirs).values(given))).rowcount == 0:
                raise NotFoundError(
                    f"No answer with the answer_id {id_!r} is kept: answers are for"
                    " online.keep_days, and searches are not.",
                    code="unknown_answer",
                )
            row = (await db.execute(answers.select().where(theirs))).mappings().one()
        return _answer(row)

    async def given(self, scope: Scope, start: float, end: float) -> list[LiveAnswer]:
        """Returns the answers given in a collection from `start` until `end`, oldest first."""
        return [_answer(row) for row in await self._db.rows(_within(scope, start, end, *answers.c))]

    async def count(self, scope: Scope, start: float, end: float) -> int:
        """Returns the number of these answers."""
        these = _within(scope, start, end, answers.c.id).order_by(None).subquery()
        (row,) = await self._db.rows(sa.select(sa.func.count().label("n")).select_from(these))
        return int(row["n"])

    async def signals(self, scope: Scope, start: float, end: float) -> list[Signals]:
        """Returns the measurements of these answers, in the same order."""
        names = ("id", "at", "question_chars", "top_score", "reason", "seconds", "cost", "scores")
        columns = [answers.c[name] for name in (*names, "embedding")]
        these = _within(scope, start, end, *columns).limit(SIGNALS_AT_ONCE)
        found: list[Signals] = []
        page = these
        while rows := await self._db.rows(page):
            found += await asyncio.to_thread(lambda rows: [*map(_signals, rows)], rows)
            page = these.where(place(found[-1].at, found[-1].id) < PLACE)
        return found

    async def forget(self, *, before: float) -> int:
        """Removes answers given before `before`, and ends the wait for scores that are overdue.

        They are of all tenants.

        Returns:
            The number of answers that were not scored in time and no longer will be.
        """
        stale = sa.and_(TO_SCORE, answers.c.at < time.time() - STALE_SECONDS)
        unscored = {"to_score": False, "trace": None}
        old = sa.select(answers.c.id).where(answers.c.at < before)
        async with self._db.write() as db:
            of_old = answer_documents.c.answer_id.in_(old)
            await db.execute(answer_documents.delete().where(of_old))
            await db.execute(answers.delete().where(answers.c.at < before))
            return (await db.execute(answers.update().where(stale).values(unscored))).rowcount

    async def forget_late(self, *, since: float) -> None:
        """Removes the text of answers that were stored after one of their documents was deleted.

        They are of all tenants.
        """
        await forget_late(self._db, since=since)


def quality(scores: Mapping[str, float]) -> float | None:
    """Returns the mean of the scores of an answer that say how good it is; None without any."""
    found = [scores[name] for name in QUALITY if name in scores]
    return sum(found) / len(found) if found else None


_ARM = sa.select(answers.c.rollout, answers.c.rollout_version, answers.c.variant)


def _arm(row: sa.RowMapping) -> Arm:
    return Arm(row["rollout"], row["rollout_version"], row["variant"])


def _of(tenant: str, id_: str) -> sa.ColumnElement[bool]:
    return sa.and_(answers.c.tenant == tenant, answers.c.id == id_)


def _within(
    scope: Scope, start: float, end: float, *columns: sa.ColumnElement[Any]
) -> sa.Select[Any]:
    theirs = in_scope(scope, answers)
    query = sa.select(*columns).where(theirs, answers.c.at >= start, answers.c.at < end)
    return query.order_by(answers.c.at, answers.c.id)


def _row(answer: LiveAnswer) -> dict[str, Any]:
    # Without `asdict`, which copies the content: an answer that is given again costs little else.
    row = {name: getattr(answer, name) for name in _STORED}
    feedback = asdict(answer.feedback)
    return {**row, **scope_row(answer.scope), **feedback, "reader": answer.scope.reader}


def _read(answer: LiveAnswer) -> Iterator[dict[str, str]]:
    """Yields the rows of the documents that an answer was made of."""
    for document_id, version in answer.read.items():
        key = {"answer_id": answer.id, "document_id": document_id, "version": version}
        yield scope_row(answer.scope) | key


def _answer(row: sa.RowMapping) -> LiveAnswer:
    values = dict(row)
    names = ("rating", "comment", "correction")
    feedback = Feedback(**{name: values.pop(name) for name in names})
    for name in ("tenant", "collection", "embedding", "claimed_at", "reader"):
        del values[name]
    values["degraded"] = tuple(values["degraded"])
    return LiveAnswer(scope=scope_of(row), feedback=feedback, **values)


def _signals(row: sa.RowMapping) -> Signals:
    values = dict(row)
    raw, reason = values.pop("embedding"), values.pop("reason")
    embedding = None if raw is None else _embedding(raw)
    return Signals(embedding=embedding, abstained=reason is not None, **values)


def _embedding(raw: bytes) -> Float32Array:
    import numpy as np  # here: few commands read vectors of answers

    return np.frombuffer(raw, np.dtype("<f4")).astype(np.float32)
