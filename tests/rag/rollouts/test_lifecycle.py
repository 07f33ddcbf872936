"""The states of a rollout: what a person and the controller may do in each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rag.errors import ConflictError
from rag.records import DAY, Arm, Observation, Rollout, Tally
from rag.rollouts.canary import decide, watched
from rag.rollouts.controller import after
from rag.rollouts.lifecycle import Action, advanced, changed, rolled_back, started

CANARY = started(Rollout(name="new", kind="canary", variant="v"), None, 0.0, force=False)


def do(rollout: Rollout, action: Action, now: float = 10.0, *, force: bool = False) -> Rollout:
    return changed(rollout, action, now, force=force, who="ann")


def test_a_canary_climbs_its_steps_and_is_promoted_after_the_last_one() -> None:
    percents, rollout = [], CANARY
    while rollout.state == "running":
        percents.append(rollout.percent)
        rollout = advanced(rollout, "fine", 0.0)
    assert percents == [1, 5, 25, 50, 100]
    assert (rollout.state, rollout.percent, rollout.version) == ("promoted", 100, 6)
    assert [each.percent for each in rollout.history] == percents


def test_a_killed_rollout_goes_on_where_it_was() -> None:
    at_five = do(CANARY, "promote")
    killed = do(at_five, "kill")
    resumed = do(killed, "resume")
    assert (killed.state, resumed.state, resumed.percent) == ("killed", "running", 5)
    promoted = replace(at_five, state="promoted")
    assert do(do(promoted, "kill"), "resume").state == "promoted"


def test_a_rolled_back_variant_is_held_for_a_day() -> None:
    back = rolled_back(do(CANARY, "promote"), "errors", 100.0)
    new = Rollout(name="new", kind="canary", variant="v")
    with pytest.raises(ConflictError, match=r"held for 24\.0 h"):
        started(new, back, 100.0, force=False)
    assert started(new, back, 100.0, force=True).state == "running"
    assert started(new, back, 101.0 + DAY, force=False).version == back.version + 1
    assert started(replace(new, variant="w"), back, 100.0, force=False).variant == "w"


def test_what_was_before_a_rollback_can_be_restored_for_a_day() -> None:
    back = rolled_back(do(CANARY, "promote"), "errors", 100.0)
    with pytest.raises(ConflictError, match="Send `force`"):
        do(back, "restore", 101.0)
    restored = do(back, "restore", 101.0, force=True)
    assert (restored.state, restored.percent, restored.held_until) == ("running", 5, 0)
    with pytest.raises(ConflictError, match="cannot restore"):
        do(back, "restore", 101.0 + DAY, force=True)


@pytest.mark.parametrize(
    ("rollout", "action"),
    [
        (CANARY, "resume"),
        (CANARY, "restore"),
        (do(CANARY, "kill"), "promote"),
        (do(CANARY, "kill"), "rollback"),
        (rolled_back(CANARY, "", 0.0), "promote"),
        (rolled_back(CANARY, "", 0.0), "kill"),
        (started(Rollout(name="s", kind="shadow", variant="v"), None, 0, force=False), "promote"),
    ],
)
def test_other_ways_are_refused(rollout: Rollout, action: Action) -> None:
    with pytest.raises(ConflictError, match=f"cannot {action}"):
        do(rollout, action)


def test_a_step_lasts_for_its_dwell_and_its_questions() -> None:
    arm = Arm("new", CANARY.version, "v")
    seen = Observation(arm=arm, tallies={"errors": Tally(100, 0.0, 0.0)})
    few = Observation(arm=arm, tallies={"errors": Tally(99, 0.0, 0.0)})
    assert after(CANARY, [few], 3600.0).percent == 1
    assert after(CANARY, [seen], 3599.0).percent == 1
    assert after(CANARY, [seen], 3600.0).percent == 5


def test_observations_of_another_version_do_not_count() -> None:
    old = Observation(arm=Arm("new", 0, "v"), tallies={"errors": Tally(1000, 1000.0, 1000.0)})
    assert after(CANARY, [old], 10.0).state == "running"


def test_a_promoted_canary_is_guarded_for_a_day() -> None:
    promoted = replace(CANARY, state="promoted", percent=100.0, since=0.0)
    failing = Observation(
        arm=Arm("new", promoted.version, "v"), tallies={"errors": Tally(200, 200.0, 200.0)}
    )
    assert after(promoted, [failing], DAY - 1).state == "rolled_back"
    assert not watched(promoted, DAY)
    assert after(promoted, [failing], DAY).state == "promoted"


def test_a_flag_is_left_to_people() -> None:
    flag = replace(CANARY, kind="flag")
    failing = Observation(
        arm=Arm("new", flag.version, "v"), tallies={"errors": Tally(200, 200.0, 200.0)}
    )
    assert after(flag, [failing], 10.0).state == "running"
    assert decide(CANARY, 10.0).reason == "0 of 100 questions at this step"
