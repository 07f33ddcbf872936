"""Requests and responses of the endpoints of rollouts."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from rag.records import LIMITS, TOLERANCES, Plan, Rollout, RolloutKind, RolloutState
from rag.rollouts.canary import PAIRED, VARIANT, sequence
from rag.rollouts.lifecycle import Action
from rag.rollouts.measures import SCALES, shown
from rag.rollouts.router import Router
from rag.text.numbers import IS_NUMBER, Flag, Integer
from rag.text.validation_errors import FewUnknown
from rag.types import BASE, TENANT

NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
MOST = 1000
"""Most tenants, and keys, of a rollout."""
LEVEL = 0.025
"""Of each end of a shown interval; together they hold with 95 % at all times at once."""
_Percent = Annotated[float, Field(ge=0, le=100), IS_NUMBER]
_Share = Annotated[float, Field(ge=0, le=1), IS_NUMBER]
_Factor = Annotated[float, Field(ge=1, le=100), IS_NUMBER]
_Positive = Annotated[float, Field(gt=0), IS_NUMBER]
Override = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=500,
        description="Why it goes on although an error budget is spent, for the audit log.",
    ),
]
_EXAMPLE: JsonDict = {"kind": "canary", "variant": "prompt-2", "version": 0}


class Tolerances(FewUnknown):
    """The most by which a canary may be worse: shares, and factors of seconds and cost."""

    model_config = ConfigDict(extra="forbid")

    errors: _Share = TOLERANCES["errors"]
    abstained: _Share = TOLERANCES["abstained"]
    seconds: _Factor = TOLERANCES["seconds"]
    cost: _Factor = TOLERANCES["cost"]
    loss: _Share = TOLERANCES["loss"]


class Guards(FewUnknown):
    """Limits of a variant: shares, and seconds and cost of a question; none: no limit."""

    model_config = ConfigDict(extra="forbid")

    errors: _Share | None = LIMITS["errors"]
    abstained: _Share | None = None
    seconds: _Positive | None = None
    cost: _Positive | None = None
    loss: _Share | None = None


class PlanIn(FewUnknown):
    """The conditions of a rollout."""

    model_config = ConfigDict(extra="forbid")

    steps: list[_Percent] = Field(
        list(Plan().steps),
        min_length=1,
        max_length=20,
        description="Of a canary, in rising order; the last one is 100 in any case.",
    )
    dwell_seconds: Annotated[float, Field(ge=0, le=30 * 86_400), IS_NUMBER] = Field(
        Plan().dwell_seconds, description="Shortest stay at a step."
    )
    questions: Integer = Field(
        Plan().questions, ge=1, description="Of the variant at a step, at least."
    )
    limits: Guards = Guards()
    tolerances: Tolerances = Tolerances()

    def plan(self) -> Plan:
        """Returns the plan in the catalog's form."""
        return Plan(
            steps=tuple(sorted({*self.steps, 100.0} - {0.0})),
            dwell_seconds=self.dwell_seconds,
            questions=self.questions,
            limits={n: v for n, v in self.limits.model_dump().items() if v is not None},
            tolerances=self.tolerances.model_dump(),
        )


class RolloutRequest(FewUnknown):
    """A rollout to start. `version` is that of the one it replaces, 0 if there is none."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    kind: RolloutKind
    variant: str = Field(min_length=1, max_length=100)
    percent: _Percent = Field(100.0, description="Of the questions; of a canary, its steps say it.")
    tenants: list[Annotated[str, Field(pattern=TENANT)]] | None = Field(
        None, min_length=1, max_length=MOST, description="Whose questions; none: all."
    )
    keys: list[Annotated[str, Field(pattern=r"^[0-9a-z]{1,40}$")]] | None = Field(
        None, min_length=1, max_length=MOST, description="Ids of keys; none: all."
    )
    plan: PlanIn = PlanIn()
    version: Integer = Field(ge=0)
    force: Flag = Field(False, description="Also a variant that was rolled back within a day.")
    override_freeze: Override = None

    def rollout(self, name: str) -> Rollout:
        """Returns the request in the catalog's form."""
        return Rollout(
            name=name,
            kind=self.kind,
            variant=self.variant,
            percent=self.percent,
            tenants=None if self.tenants is None else frozenset(self.tenants),
            keys=None if self.keys is None else frozenset(self.keys),
            plan=self.plan.plan(),
        )


class ActionRequest(FewUnknown):
    """An action on a rollout at a version: of two at once, the second one is refused."""

    model_config = ConfigDict(extra="forbid")

    action: Action
    version: Integer = Field(ge=1)
    force: Flag = False
    override_freeze: Override = None


class PlanOut(BaseModel):
    """The conditions of a rollout."""

    steps: list[float]
    dwell_seconds: float
    questions: int
    limits: dict[str, float]
    tolerances: dict[str, float]


class EvidenceOut(BaseModel):
    """A measure in an arm, and an interval that holds at all times at once, 95 %.

    Of `paired`, the mean is what a shadow differs by from the base on the same questions: a
    difference of shares, or a factor of seconds and cost.
    """

    arm: Literal["base", "variant", "paired"]
    measure: str
    questions: int
    mean: float
    low: float
    high: float


class ChangeOut(BaseModel):
    """A state that a rollout had, until `at`, and why it was left."""

    at: str
    version: int
    state: RolloutState
    percent: float
    reason: str


class RolloutOut(BaseModel):
    """A rollout. `evidence` is of the present version alone."""

    name: str
    kind: RolloutKind
    variant: str
    state: RolloutState
    version: int
    percent: float
    tenants: list[str] | None
    keys: list[str] | None
    plan: PlanOut
    since: str
    held_until: str | None = Field(description="Until then it is started again only by force.")
    reason: str
    available: bool | None = Field(description="The variant, in this process; none: not known.")
    problem: str | None = Field(description="Why it is not.")
    evidence: list[EvidenceOut]
    history: list[ChangeOut]


class VariantOut(BaseModel):
    """A variant of the settings, and if this process could build it; none: not known."""

    name: str
    available: bool | None
    problem: str | None


class RolloutList(BaseModel):
    """All rollouts, by name, the variants of the settings, and why rollouts are frozen if so."""

    rollouts: list[RolloutOut]
    variants: list[VariantOut]
    frozen: str | None


class ArmsRowOut(BaseModel):
    """A measure of the stored answers in both arms; `verdict` is empty where it may be chance."""

    measure: str
    questions: tuple[int, int]
    base: float
    variant: float
    difference: float
    low: float
    high: float
    p: float
    verdict: Literal["better", "worse", "other", ""]


class ArmsOut(BaseModel):
    """An A/B test so far, over the latest stored answers; p-values are corrected (Holm)."""

    questions: tuple[int, int]
    alpha: float
    rows: list[ArmsRowOut]


class PowerRow(BaseModel):
    """The smallest difference of a measure's mean that the test finds."""

    measure: str
    mean: float
    smallest_difference: float


class PowerOut(BaseModel):
    """The power of an A/B test of so many questions; `answers` are those of the base it is from."""

    questions: int
    percent: float
    power: float
    alpha: float
    answers: int
    rows: list[PowerRow]


def variant_json(name: str, router: Router | None) -> dict[str, Any]:
    """Returns a variant in the form of `VariantOut`."""
    available = None if router is None else name in router.variants
    return {
        "name": name,
        "available": available,
        "problem": router.unavailable.get(name) if router else None,
    }


def rollout_json(rollout: Rollout, router: Router | None) -> dict[str, Any]:
    """Returns a rollout in the form of `RolloutOut`."""
    body = asdict(rollout)
    found = variant_json(rollout.variant, router)
    return body | {
        "tenants": _sorted(rollout.tenants),
        "keys": _sorted(rollout.keys),
        "since": _time(rollout.since),
        "held_until": _time(rollout.held_until) if rollout.held_until else None,
        "available": found["available"],
        "problem": found["problem"],
        "evidence": [
            _evidence(rollout, arm, measure)
            for arm in (BASE, VARIANT, PAIRED)
            for measure in rollout.evidence.get(arm, {})
        ],
        "history": [asdict(each) | {"at": _time(each.at)} for each in rollout.history],
    }


def _evidence(rollout: Rollout, arm: str, measure: Any) -> dict[str, Any]:
    sums = sequence(rollout.evidence, arm, measure)
    in_unit = _difference if arm == PAIRED and measure != "overlap" else shown
    return {
        "arm": arm,
        "measure": measure,
        "questions": int(sums.n),
        "mean": in_unit(measure, sums.mean),
        "low": in_unit(measure, sums.lower(LEVEL)),
        "high": in_unit(measure, sums.upper(LEVEL)),
    }


def _difference(measure: str, place: float) -> float:
    """Returns the difference that 0 … 1 stands for: of places on a scale, the factor."""
    scale = SCALES.get(measure)
    difference = 2 * place - 1
    return scale.factor(difference) if scale else difference


def _sorted(names: frozenset[str] | None) -> list[str] | None:
    return None if names is None else sorted(names)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
