"""Records of rollouts: which questions a variant of the pipeline answers, and what was seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

RolloutKind = Literal["flag", "shadow", "canary", "ab"]
"""flag: routes by rules alone; shadow: answers besides, and is not shown; canary: grows by steps,
and promotes or rolls back by itself; ab: a fixed split."""
RolloutState = Literal["running", "killed", "promoted", "rolled_back"]
Measure = Literal["errors", "abstained", "seconds", "cost", "loss", "doubt", "overlap"]
"""What is observed of a question: 0 is best and 1 worst, except for `overlap`, the share of the
base's documents that a shadow found as well. See `rag.rollouts.measures`."""
DAY = 24 * 3600.0


class Tally(NamedTuple):
    """Values of a measure, added up."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    def plus(self, value: float) -> Tally:
        """Returns the tally with one more value."""
        return Tally(self.n + 1, self.total + value, self.squares + value * value)


class Arm(NamedTuple):
    """The part of a rollout that a question belongs to.

    `version` is the rollout's when the question was assigned. `variant` is `BASE` for the questions
    that the variant is compared with; with `paired`, values are differences of a shadow from them.
    """

    rollout: str
    version: int
    variant: str
    paired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The conditions of a rollout.

    Attributes:
        steps: of a canary, percent of the questions, rising, the last one 100.
        dwell_seconds: shortest stay at a step.
        questions: answers of the variant that a step needs at least; of an A/B test, of each arm.
        limits: guards by measure: shares of `errors`, `abstained` and `loss`, seconds, cost of a
            question. A variant that is certainly above one is rolled back.
        tolerances: what a canary may be worse by than the base: shares of `errors`, `abstained` and
            `loss`; factors of `seconds` and `cost`.
    """

    steps: tuple[float, ...] = (1.0, 5.0, 25.0, 50.0, 100.0)
    dwell_seconds: float = 3600.0
    questions: int = 100
    limits: Mapping[str, float] = field(default_factory=lambda: dict(LIMITS))
    tolerances: Mapping[str, float] = field(default_factory=lambda: dict(TOLERANCES))


LIMITS: Mapping[str, float] = {"errors": 0.2}
TOLERANCES: Mapping[str, float] = {
    "errors": 0.005,
    "abstained": 0.02,
    "seconds": 1.1,
    "cost": 1.1,
    "loss": 0.02,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An entry of a rollout's history, the state that it came from, and why."""

    at: float
    version: int
    state: RolloutState
    percent: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A rollout as the catalog has it. Times are seconds since 1970.

    `percent` of the questions that fit go to the variant; a shadow answers so many besides.
    `tenants` and `keys` are those whose questions fit, None: all. `version` rises with each change
    of what is routed, and evidence is of one version alone. `evidence` is JSON:
    arm → measure → `rag.rollouts.sequential.Sequence`. `since` is when the present step began.
    `held_until`: a rolled back variant is not started again before, unless by force.
    """

    name: str
    kind: RolloutKind
    variant: str
    state: RolloutState = "running"
    version: int = 1
    percent: float = 0.0
    tenants: frozenset[str] | None = None
    keys: frozenset[str] | None = None
    plan: Plan = Plan()
    since: float = 0.0
    held_until: float = 0.0
    reason: str = ""
    evidence: Mapping[str, Mapping[str, list[float]]] = field(default_factory=dict)
    history: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """The values that one process saw of an arm since it last told, by measure."""

    arm: Arm
    tallies: Mapping[Measure, Tally]
