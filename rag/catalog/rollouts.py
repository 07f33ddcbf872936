"""The rollouts of the catalog, and what processes saw of them. All of it serves the whole service.

A change names the version that it was made on: of two at once, one is made. A process may tell the
same observations twice, if it does not know that they arrived; they count once.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from rag.catalog.database import Database
from rag.catalog.tables import answers, rollout_observations, rollout_writers, rollouts
from rag.errors import ConflictError, NotFoundError
from rag.records import DAY, Arm, Change, Measure, Observation, Plan, Rollout, Tally
from rag.text.validation_errors import shortened
from rag.types import BASE

OBSERVATIONS_AT_ONCE = 1000
"""Observations that are added to the evidence in one transaction."""


class Rollouts:
    """Queries and changes of rollouts."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def all(self) -> list[Rollout]:
        """Returns all rollouts, by name."""
        return [_rollout(row) for row in await self._db.rows(_BY_NAME)]

    async def get(self, name: str) -> Rollout:
        """Returns a rollout.

        Raises:
            NotFoundError: There is none of this name.
        """
        rows = await self._db.rows(rollouts.select().where(rollouts.c.name == name))
        if not rows:
            raise NotFoundError(f"There is no rollout {shortened(name)!r}.", code="unknown_rollout")
        return _rollout(rows[0])

    async def put(self, rollout: Rollout, *, instead_of: int) -> None:
        """Stores a rollout in the place of its version `instead_of`; 0: there is none yet.

        Raises:
            ConflictError: Somebody else changed it meanwhile.
        """
        row = _row(rollout)
        mine = sa.and_(rollouts.c.name == rollout.name, rollouts.c.version == instead_of)
        async with self._db.write() as db:
            if instead_of:
                done = await db.execute(rollouts.update().where(mine).values(row))
            else:
                new = self._db.insert(rollouts).values(row)
                done = await db.execute(new.on_conflict_do_nothing(index_elements=["name"]))
        if not done.rowcount:
            raise _stale(rollout.name, instead_of)

    async def delete(self, name: str, *, version: int) -> None:
        """Deletes a rollout.

        Raises:
            NotFoundError: There is none of this name.
            ConflictError: It has another version.
        """
        mine = sa.and_(rollouts.c.name == name, rollouts.c.version == version)
        async with self._db.write() as db:
            done = await db.execute(rollouts.delete().where(mine))
        if not done.rowcount:
            await self.get(name)
            raise _stale(name, version)

    async def observe(self, writer: str, number: int, observations: Sequence[Observation]) -> bool:
        """Stores the batch `number`, from 1, of what a process saw; returns False if it is stored.

        Batches of one writer come in order. A writer that was forgotten (`tidy`) goes on.
        """
        at = {"number": number, "at": time.time()}
        new = self._db.insert(rollout_writers).values(id=writer, **at)
        is_new = rollout_writers.c.number < number
        async with self._db.write() as db:
            done = await db.execute(
                new.on_conflict_do_update(index_elements=["id"], set_=at, where=is_new)
            )
            if not done.rowcount:
                return False
            await db.execute(
                rollout_observations.insert(), list(map(observation_row, observations))
            )
        return True

    async def observations(self) -> list[tuple[int, Observation]]:
        """Returns the oldest observations that no evidence has yet, with their ids."""
        oldest = rollout_observations.select().order_by(rollout_observations.c.id)
        rows = await self._db.rows(oldest.limit(OBSERVATIONS_AT_ONCE))
        return [(row["id"], _observation(row)) for row in rows]

    async def settle(self, changes: Iterable[tuple[int, Rollout]], ids: Sequence[int]) -> None:
        """Stores rollouts with their evidence, and forgets the observations that it is made of.

        `changes` are (version before, rollout). One that somebody else changed meanwhile stays as
        it is: its observations are of a version that is gone.
        """
        async with self._db.write() as db:
            for version, rollout in changes:
                mine = sa.and_(rollouts.c.name == rollout.name, rollouts.c.version == version)
                await db.execute(rollouts.update().where(mine).values(_row(rollout)))
            if ids:
                done = rollout_observations.c.id.in_(ids)
                await db.execute(rollout_observations.delete().where(done))

    async def tidy(self) -> None:
        """Forgets processes that have told nothing for a day."""
        old = rollout_writers.c.at < time.time() - DAY
        async with self._db.write() as db:
            await db.execute(rollout_writers.delete().where(old))

    async def answers(self, rollout: Rollout, *, limit: int) -> list[dict[str, Any]]:
        """Returns what the latest stored answers of a rollout's version say, of all tenants.

        The names are `variant`, `reason`, `seconds`, `cost`, `confidence` and `scores`.
        """
        mine = answers.c.rollout == rollout.name, answers.c.rollout_version == rollout.version
        return [dict(row) for row in await self._db.rows(_SAID.where(*mine).limit(limit))]

    async def recent(self, *, limit: int) -> list[dict[str, Any]]:
        """Returns the same of the latest answers of the base, of all tenants."""
        base = _SAID.where(answers.c.variant == BASE).limit(limit)
        return [dict(row) for row in await self._db.rows(base)]


_BY_NAME = rollouts.select().order_by(rollouts.c.name)
_NAMES = ("variant", "reason", "seconds", "cost", "confidence", "scores")
_SAID = sa.select(*(answers.c[name] for name in _NAMES)).order_by(answers.c.at.desc())


def observation_row(observation: Observation) -> dict[str, Any]:
    """Returns the row of an observation."""
    return observation.arm._asdict() | {
        "tallies": {name: list(tally) for name, tally in observation.tallies.items()}
    }


def _observation(row: sa.RowMapping) -> Observation:
    arm = Arm(row["rollout"], row["version"], row["variant"], row["paired"])
    tallies: dict[Measure, Tally] = {name: Tally(*each) for name, each in row["tallies"].items()}
    return Observation(arm=arm, tallies=tallies)


def _stale(name: str, version: int) -> ConflictError:
    known = f"it is not at version {version} any more" if version else "there is one already"
    return ConflictError(
        f"The rollout {name!r} was changed by somebody else: {known}. Look at it, and try again.",
        code="stale_rollout",
    )


def _row(rollout: Rollout) -> dict[str, Any]:
    body = asdict(rollout)
    named = {name: body.pop(name) for name in ("name", "version", "evidence")}
    for name in ("tenants", "keys"):
        body[name] = None if body[name] is None else sorted(body[name])
    return {**named, "body": body}


def _rollout(row: sa.RowMapping) -> Rollout:
    body = dict(row["body"])
    for name in ("tenants", "keys"):
        body[name] = None if body[name] is None else frozenset(body[name])
    plan = Plan(**body["plan"] | {"steps": tuple(body["plan"]["steps"])})
    history = tuple(Change(**each) for each in body["history"])
    named = {name: row[name] for name in ("name", "version", "evidence")}
    return Rollout(**body | named | {"plan": plan, "history": history})
