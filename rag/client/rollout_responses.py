"""The responses of the endpoints of rollouts."""

from __future__ import annotations

from typing import Literal

from .administration_responses import Verdict
from .responses import Response

Kind = Literal["flag", "shadow", "canary", "ab"] | str
State = Literal["running", "killed", "promoted", "rolled_back"] | str
ArmName = Literal["base", "variant", "paired"] | str


class Plan(Response):
    """The conditions of a rollout; of `tolerances`, those of seconds and cost are factors."""

    steps: list[float]
    dwell_seconds: float
    questions: int
    limits: dict[str, float]
    tolerances: dict[str, float]


class Evidence(Response):
    """A measure in an arm, and an interval that holds at all times at once, 95 %.

    Of `paired`, the mean is what a shadow differs by from the base on the same questions: a
    difference of shares, or a factor of seconds and cost.
    """

    arm: ArmName
    measure: str
    questions: int
    mean: float
    low: float
    high: float


class RolloutChange(Response):
    """A state that a rollout had, until `at`, and why it was left."""

    at: str
    version: int
    state: State
    percent: float
    reason: str


class Rollout(Response):
    """A rollout. `evidence` is of the present version alone.

    `tenants` and `keys` are those whose questions fit; None: all. A rolled back variant is started
    again before `held_until` only by force. `available` says if the process that answered has the
    variant, None if that is not known, and `problem` why it has not.
    """

    name: str
    kind: Kind
    variant: str
    state: State
    version: int
    percent: float
    tenants: list[str] | None
    keys: list[str] | None
    plan: Plan
    since: str
    held_until: str | None
    reason: str
    available: bool | None
    problem: str | None
    evidence: list[Evidence]
    history: list[RolloutChange]


class Variant(Response):
    """A variant of the settings, and if the process that answered could build it."""

    name: str
    available: bool | None
    problem: str | None


class RolloutList(Response):
    """All rollouts, by name, the variants of the settings, and why rollouts are frozen if so."""

    rollouts: list[Rollout]
    variants: list[Variant]
    frozen: str | None


class ArmsRow(Response):
    """A measure of the stored answers in both arms, base and variant."""

    measure: str
    questions: tuple[int, int]
    base: float
    variant: float
    difference: float
    low: float
    high: float
    p: float
    verdict: Verdict


class Arms(Response):
    """An A/B test so far, over the latest stored answers; p-values are corrected."""

    questions: tuple[int, int]
    alpha: float
    rows: list[ArmsRow]


class PowerRow(Response):
    """The smallest difference of a measure's mean that the test finds."""

    measure: str
    mean: float
    smallest_difference: float


class Power(Response):
    """The power of an A/B test of so many questions; `answers` are those of the base it is from."""

    questions: int
    percent: float
    power: float
    alpha: float
    answers: int
    rows: list[PowerRow]
