"""Rollouts in the catalog: compare-and-set, and observations that count once."""

from __future__ import annotations

import time
from dataclasses import replace

import anyio
import pytest

from rag.catalog.answers import Answers
from rag.catalog.database import Database
from rag.catalog.rollouts import Rollouts
from rag.errors import ConflictError, NotFoundError
from rag.records import DAY, Arm, LiveAnswer, Observation, Plan, Rollout, Tally
from rag.rollouts.controller import after
from rag.rollouts.observations import Observations
from rag.types import BASE, Scope

pytestmark = pytest.mark.anyio

CANARY = Rollout(
    name="new",
    kind="canary",
    variant="v",
    percent=5.0,
    tenants=frozenset({"acme"}),
    plan=Plan(steps=(5.0, 100.0), questions=7),
)
ARM = Arm("new", 1, "v")
SEEN = Observation(arm=ARM, tallies={"errors": Tally(10, 2.0, 2.0), "loss": Tally(4, 1.0, 0.3)})


async def test_a_rollout_comes_back_as_it_was_stored(database: Database) -> None:
    rollouts = Rollouts(database)
    stored = after(CANARY, [SEEN], 0.0)
    await rollouts.put(stored, instead_of=0)
    assert await rollouts.get("new") == stored
    assert await rollouts.all() == [stored]
    with pytest.raises(NotFoundError, match="no rollout 'old'"):
        await rollouts.get("old")


async def test_of_many_changes_at_once_one_is_made(database: Database) -> None:
    rollouts = Rollouts(database)
    await rollouts.put(CANARY, instead_of=0)
    made: list[int] = []
    refused: list[str] = []

    async def change(n: int) -> None:
        try:
            await rollouts.put(replace(CANARY, version=2, percent=float(n)), instead_of=1)
        except ConflictError as error:
            refused.append(error.code)
        else:
            made.append(n)

    async with anyio.create_task_group() as group:
        for n in range(8):
            group.start_soon(change, n)
    assert len(made) == 1
    assert refused == ["stale_rollout"] * 7
    assert (await rollouts.get("new")).percent == made[0]


async def test_a_new_one_does_not_replace_another(database: Database) -> None:
    rollouts = Rollouts(database)
    await rollouts.put(CANARY, instead_of=0)
    with pytest.raises(ConflictError, match="there is one already"):
        await rollouts.put(CANARY, instead_of=0)
    with pytest.raises(ConflictError, match="version 7"):
        await rollouts.delete("new", version=7)
    await rollouts.delete("new", version=1)
    assert await rollouts.all() == []


async def test_a_batch_that_is_told_twice_counts_once(database: Database) -> None:
    rollouts = Rollouts(database)
    for writer in ("one", "two"):
        assert await rollouts.observe(writer, 1, [SEEN])
        assert not await rollouts.observe(writer, 1, [SEEN])
        assert await rollouts.observe(writer, 2, [SEEN])
        assert not await rollouts.observe(writer, 2, [SEEN])
    assert [each for _, each in await rollouts.observations()] == [SEEN] * 4


async def test_a_process_that_told_nothing_for_a_day_is_heard_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollouts = Rollouts(database)
    seen = Observations()
    for _ in range(2):
        seen.add(ARM, {"errors": 0.0})
        await seen.tell(rollouts)
    later = time.time() + 2 * DAY
    monkeypatch.setattr(time, "time", lambda: later)
    await rollouts.tidy()
    seen.add(ARM, {"errors": 1.0})
    await seen.tell(rollouts)
    tallies = [each.tallies["errors"] for _, each in await rollouts.observations()]
    assert tallies == [Tally(1, 0.0, 0.0), Tally(1, 0.0, 0.0), Tally(1, 1.0, 1.0)]


async def test_observations_that_were_added_up_are_forgotten(database: Database) -> None:
    rollouts = Rollouts(database)
    await rollouts.put(CANARY, instead_of=0)
    await rollouts.observe("one", 1, [SEEN, SEEN])
    rows = await rollouts.observations()
    folded = after(CANARY, [each for _, each in rows], 0.0)
    await rollouts.settle([(1, folded)], [id_ for id_, _ in rows])
    assert await rollouts.observations() == []
    assert (await rollouts.get("new")).evidence["variant"]["errors"][:2] == [20, 4.0]
    # Somebody changed it meanwhile: what was seen is of a version that is gone.
    await rollouts.put(replace(CANARY, version=2), instead_of=1)
    await rollouts.settle([(1, folded)], [])
    assert (await rollouts.get("new")).evidence == {}


async def test_what_is_late_of_a_deleted_rollout_counts_for_no_other_variant() -> None:
    again = replace(CANARY, variant="other")
    base = replace(SEEN, arm=ARM._replace(variant=BASE))
    assert set(after(again, [SEEN, base], 0.0).evidence) == {"base"}


async def test_scores_of_an_answer_are_observed_once(database: Database) -> None:
    answers, rollouts = Answers(database), Rollouts(database)
    given = LiveAnswer(
        id="a" * 32,
        trace_id="b" * 32,
        scope=Scope(tenant="acme", collection="default"),
        at=1.0,
        to_score=True,
        question_chars=3,
        top_score=None,
        reason=None,
        confidence=0.5,
        seconds=0.1,
        cost=0.0,
        spans={},
        content={},
        trace=None,
        variant="v",
        rollout="new",
        rollout_version=1,
    )
    await answers.keep([given, replace(given, id="c" * 32, rollout=None)])
    scores = {"groundedness": 0.9, "citation_coverage": 0.5, "answer_relevance": 0.1}
    for id_ in ("a" * 32, "a" * 32, "c" * 32):
        await answers.scored("acme", id_, scores, embedding=None, content=None)
    ((_, seen),) = await rollouts.observations()
    assert seen.arm == ARM
    assert seen.tallies["loss"] == pytest.approx(Tally(1, 0.3, 0.09))
    said = await rollouts.answers(replace(CANARY), limit=10)
    assert [(row["variant"], row["scores"]) for row in said] == [("v", scores)]
