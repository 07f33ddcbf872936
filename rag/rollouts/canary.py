"""Decides about a canary: it goes on, waits, or is rolled back. Pure functions.

The variant is compared with the base on the questions of the same step, of which chance decided who
got which. Each bound is one of a confidence sequence (`rag.rollouts.sequential`), so looking every
second costs nothing. A variant is rolled back if its lower bound of a measure is above the base's
upper bound by more than is tolerated, or above the limit of a guard. Each step is a test of its
own, because the mix of questions changes with time. By Bonferroni's correction over all bounds of
all steps, a variant that is no worse is rolled back with a probability of `ALPHA` at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from rag.records import DAY, Measure, Observation, Plan, Rollout
from rag.rollouts.measures import COMPARED, limit, shown, tolerated
from rag.rollouts.sequential import Sequence
from rag.types import BASE

ALPHA = 0.05
"""The largest probability that a variant that is no worse is rolled back."""
VARIANT = "variant"
PAIRED = "paired"
Evidence = Mapping[str, Mapping[str, list[float]]]


class Decision(NamedTuple):
    """The next action on a rollout, and its reason."""

    action: Literal["hold", "advance", "roll_back"]
    reason: str


def alpha(plan: Plan) -> float:
    """Returns the level of one bound: two for each measure, at each step and after the last one."""
    return ALPHA / (2 * len(COMPARED) * (len(plan.steps) + 1))


def sequence(evidence: Evidence, arm: str, measure: str) -> Sequence:
    """Returns the sums of a measure in an arm."""
    return Sequence(*evidence.get(arm, {}).get(measure, ()))


def folded(rollout: Rollout, observations: Iterable[Observation]) -> Evidence:
    """Returns the evidence with these observations.

    Those of another version are left out, and those of another variant: they may be late ones of a
    deleted rollout of the same name.
    """
    level = alpha(rollout.plan)
    found: dict[str, dict[str, list[float]]] = {
        arm: dict(measures) for arm, measures in rollout.evidence.items()
    }
    for each in observations:
        mine = each.arm.variant in (BASE, rollout.variant)
        if each.arm.version != rollout.version or not mine:
            continue
        arm = PAIRED if each.arm.paired else BASE if each.arm.variant == BASE else VARIANT
        sums = found.setdefault(arm, {})
        for measure, tally in each.tallies.items():
            sums[measure] = Sequence(*sums.get(measure, ())).add(tally, alpha=level).to_list()
    return found


def decide(rollout: Rollout, now: float) -> Decision:
    """Returns the decision about a rollout at a time, in seconds since 1970."""
    if (worse := _worse(rollout)) is not None:
        return Decision("roll_back", worse)
    if rollout.kind != "canary" or rollout.state != "running":
        return Decision("hold", "")
    seen = int(sequence(rollout.evidence, VARIANT, "errors").n)
    stayed = now - rollout.since
    if seen < rollout.plan.questions:
        return Decision("hold", f"{seen} of {rollout.plan.questions} questions at this step")
    if stayed < rollout.plan.dwell_seconds:
        return Decision("hold", f"{stayed:.0f} of {rollout.plan.dwell_seconds:.0f} s at this step")
    return Decision("advance", f"no worse in {seen} questions at {rollout.percent:g} %")


def watched(rollout: Rollout, now: float) -> bool:
    """Returns True if a rollout may be rolled back by itself; for a day after its promotion."""
    if rollout.kind not in ("canary", "ab"):
        return False
    if rollout.state == "promoted":
        return now < rollout.since + DAY
    return rollout.state == "running"


def _worse(rollout: Rollout) -> str | None:
    level = alpha(rollout.plan)
    for measure in COMPARED:
        found = sequence(rollout.evidence, VARIANT, measure)
        low = found.lower(level)
        most = rollout.plan.limits.get(measure)
        if most is not None and low > limit(measure, most):
            return _says(measure, found) + f", and the limit is {most:g}"
        base = sequence(rollout.evidence, BASE, measure)
        if rollout.kind != "canary" or not base.n:
            continue
        allowed = tolerated(measure, rollout.plan.tolerances[measure])
        if low > base.upper(level) + allowed:
            return _says(measure, found) + f", and {shown(measure, base.mean):.4g} of the base"
    return None


def _says(measure: Measure, found: Sequence) -> str:
    return f"{measure}: {shown(measure, found.mean):.4g} of {found.n:.0f} questions"
