"""The steady state: what must hold before, during and after a fault."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from rag.operations.chaos.census import Census
from rag.operations.chaos.experiments import Experiment
from rag.operations.chaos.steady_load import Phase, Sample

SLOWER, SLACK_SECONDS = 2.0, 0.5
"""After the fault, the median may be so many times that before, and so much more."""
WINDOWS = 6
"""Lengths of a phase in which the median must be back."""


@dataclass(frozen=True, slots=True)
class Check:
    """A statement about the steady state, and the numbers by which it holds or not."""

    phase: Phase
    what: str
    measured: float
    allowed: float

    @property
    def holds(self) -> bool:
        """True if no more was measured than is allowed."""
        return self.measured <= self.allowed


@dataclass(slots=True)
class Report:
    """An experiment that was run: `under_way` counts the questions when the fault began."""

    name: str
    under_way: int
    samples: Sequence[Sample]
    census: Census
    checks: list[Check] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """True if every check does."""
        return all(check.holds for check in self.checks)

    def json(self) -> dict[str, Any]:
        """Returns it for programs and for `rag chaos`."""
        return {
            "experiment": self.name,
            "holds": self.holds,
            "under_way": self.under_way,
            "phases": [_phase(phase, self.samples) for phase in get_args(Phase)],
            "documents": asdict(self.census),
            "checks": [{**asdict(check), "holds": check.holds} for check in self.checks],
        }


def judged(
    name: str, experiment: Experiment, under_way: int, samples: Sequence[Sample], census: Census
) -> Report:
    """Returns the report with its checks."""
    checks = []
    for phase in get_args(Phase):
        struck = phase == "during"
        costs = under_way if struck and experiment.costs == "under way" else 0
        asked = [each for each in samples if (each.phase, each.kind) == (phase, "question")]
        checks += [
            Check(phase, "questions failed", _count(asked, "failed"), costs),
            Check(phase, "answers wrong", _count(asked, "wrong"), 0),
        ]
        if not (struck and experiment.refuses_documents):
            sent = [each for each in samples if (each.phase, each.kind) == (phase, "documents")]
            checks.append(Check(phase, "requests with documents failed", _count(sent, "failed"), 0))
    last = max(each.window for each in samples)
    checks += [
        Check(
            "after", "seconds, median of the end", _median(samples, "after", last), _limit(samples)
        ),
        Check("after", "documents lost", census.lost, 0),
        Check("after", "documents doubled", census.doubled, 0),
        Check("after", "documents that nobody sent", census.strange, 0),
    ]
    return Report(name, under_way, samples, census, checks)


def recovered(samples: Sequence[Sample], window: int) -> bool:
    """Returns True if the questions of a window after the fault are as quick as those before it.

    It knows those that have ended.
    """
    took = _median(samples, "after", window)
    return 0 < took <= _limit(samples)


def _limit(samples: Sequence[Sample]) -> float:
    return SLOWER * _median(samples, "before") + SLACK_SECONDS


def _median(samples: Sequence[Sample], phase: Phase, window: int | None = None) -> float:
    """Returns that of the seconds of questions of a phase or of its window; 0 without any."""
    taken = [each for each in samples if window in (None, each.window)]
    return round(statistics.median(_seconds(taken, phase) or [0.0]), 3)


def _count(samples: Sequence[Sample], outcome: str) -> int:
    return sum(each.outcome == outcome for each in samples)


def _p95(samples: Sequence[Sample], phase: Phase) -> float:
    """Returns the 95th percentile of the seconds of a phase's questions, by the nearest rank."""
    taken = sorted(_seconds(samples, phase))
    return round(taken[min(len(taken) - 1, int(0.95 * len(taken)))], 3) if taken else 0.0


def _seconds(samples: Sequence[Sample], phase: Phase) -> list[float]:
    return [e.seconds for e in samples if (e.phase, e.kind) == (phase, "question")]


def _phase(phase: Phase, samples: Sequence[Sample]) -> dict[str, Any]:
    mine = [each for each in samples if each.phase == phase]
    asked = [each for each in mine if each.kind == "question"]
    return {
        "phase": phase,
        "questions": len(asked),
        "right": _count(asked, "right"),
        "wrong": _count(asked, "wrong"),
        "failed": _count(asked, "failed"),
        "median_seconds": _median(samples, phase),
        "p95_seconds": _p95(samples, phase),
        "sent": len(mine) - len(asked),
        "errors": Counter(f"{e.kind}: {e.error}" for e in mine if e.error),
    }
