"""Simulates whole canaries: questions of two engines, on a clock of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rag.records import Arm, Measure, Observation, Plan, Rollout, RolloutState, Tally
from rag.rollouts.canary import decide, folded
from rag.rollouts.lifecycle import advanced, rolled_back, started
from rag.rollouts.measures import SCALES
from rag.types import BASE

NOTHING_WORSE = {
    "errors": 0.0,
    "abstained": 0.0,
    "seconds": 1.0,
    "cost": 1.0,
    "loss": 0.0,
}
PLAN = Plan(dwell_seconds=600, questions=100, tolerances=NOTHING_WORSE)
"""Nothing is tolerated: a variant that is equal is as near to a rollback as it can be."""
A_SECOND = 20
"""Questions of all senders in a second."""
LOOK = 2.0


@dataclass(frozen=True)
class Engine:
    """A pipeline as its questions see it."""

    errors: float = 0.01
    abstained: float = 0.15
    seconds: float = 0.8
    loss: float = 0.2

    def observe(self, n: int, rng: np.random.Generator) -> dict[Measure, Tally]:
        failed = int(rng.binomial(n, self.errors))
        fine = n - failed
        seconds = [SCALES["seconds"].place(s) for s in self.seconds * rng.lognormal(0, 0.6, fine)]
        # Scores are those of a sampled share of the answers.
        loss = rng.beta(5 * self.loss, 5 * (1 - self.loss), fine // 4)
        return {
            "errors": _tally([1.0] * failed + [0.0] * fine),
            "abstained": _tally(rng.random(fine) < self.abstained),
            "seconds": _tally(seconds),
            "cost": _tally(np.full(fine, 0.3)),
            "loss": _tally(loss),
        }


def _tally(values: Any) -> Tally:
    found = np.asarray(values, dtype=float)
    return Tally(len(found), float(found.sum()), float((found**2).sum()))


@dataclass(frozen=True)
class Run:
    state: RolloutState
    hours: float
    questions: int
    """Questions that the variant answered."""
    reason: str


def simulate(variant: Engine, base: Engine, seed: int, *, look: float = LOOK) -> Run:
    """Runs a canary until it is promoted or rolled back, on a clock of its own."""
    rng = np.random.default_rng(seed)
    given, now = 0, 0.0
    new = Rollout(name="new", kind="canary", variant="v", plan=PLAN)
    rollout = started(new, None, now, force=False)
    while rollout.state == "running":
        now += look
        n = int(rng.poisson(A_SECOND * look))
        chosen = int(rng.binomial(n, rollout.percent / 100))
        given += chosen
        arm = Arm(rollout.name, rollout.version, BASE)
        seen = [
            Observation(arm=arm, tallies=base.observe(n - chosen, rng)),
            Observation(arm=arm._replace(variant="v"), tallies=variant.observe(chosen, rng)),
        ]
        rollout = replace(rollout, evidence=folded(rollout, seen))
        decision = decide(rollout, now)
        if decision.action == "advance":
            rollout = advanced(rollout, decision.reason, now)
        elif decision.action == "roll_back":
            rollout = rolled_back(rollout, decision.reason, now)
    return Run(rollout.state, now / 3600, given, rollout.reason)
