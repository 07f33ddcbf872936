"""What is observed of a question, as numbers from 0, the best, to 1, the worst.

`errors` and `abstained` are 0 or 1, `doubt` is 1 less the confidence. `seconds` and `cost` are on a
scale of logarithms, so that their means are those of ratios: a variant that takes twice as long is
as much above the base whatever a question usually takes, and a few very long ones do not decide.
`loss` is 1 less the mean score of a live answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from rag.records import Measure
from rag.types import Answer


@dataclass(frozen=True, slots=True)
class Scale:
    """A scale of logarithms: `least` and below are 0, `most` and above are 1."""

    least: float
    most: float

    def place(self, value: float) -> float:
        """Returns the place of a value, 0 to 1."""
        if value <= self.least:
            return 0.0
        return min(math.log(value / self.least) / self._width, 1.0)

    def value(self, place: float) -> float:
        """Returns the value at a place: of a mean place, the geometric mean of the values."""
        return self.least * math.exp(place * self._width)

    def factor(self, step: float) -> float:
        """Returns the factor that `step` is given."""
        return math.exp(step * self._width)

    def step(self, factor: float) -> float:
        """Returns by how much the place rises if a value is multiplied by a factor."""
        return math.log(factor) / self._width

    @property
    def _width(self) -> float:
        return math.log(self.most / self.least)


SCALES: Mapping[str, Scale] = {"seconds": Scale(1e-3, 100.0), "cost": Scale(1e-6, 10.0)}
COMPARED: tuple[Measure, ...] = ("errors", "abstained", "seconds", "cost", "loss")


def observed(answer: Answer | None, seconds: float) -> dict[Measure, float]:
    """Returns what is seen of a question and its answer; None: it failed, and no more is known."""
    if answer is None:
        return {"errors": 1.0}
    return {
        "errors": 0.0,
        "abstained": float(answer.abstained),
        "seconds": SCALES["seconds"].place(seconds),
        "cost": SCALES["cost"].place(answer.usage.cost),
        "doubt": 1 - answer.confidence,
    }


def tolerated(measure: Measure, tolerance: float) -> float:
    """Returns a tolerance on the measure's scale: a share as it is, a factor as a distance."""
    scale = SCALES.get(measure)
    return scale.step(tolerance) if scale else tolerance


def limit(measure: Measure, value: float) -> float:
    """Returns the limit of a guard on the measure's scale."""
    scale = SCALES.get(measure)
    return scale.place(value) if scale else value


def shown(measure: Measure, place: float) -> float:
    """Returns a mean in the measure's own unit: seconds, cost, or a share."""
    scale = SCALES.get(measure)
    return scale.value(place) if scale else place
