"""Converts features of the evidence to a probability."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CALIBRATION = Path(__file__).with_name("calibration.json")
"""Written by `python -m eval.calibration.abstention`; the file names the data it was fitted on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Regression:
    """A logistic regression: P = 1 / (1 + exp(-(intercept + Σ coefficient x feature)))."""

    intercept: float
    coefficients: Mapping[str, float]

    def probability(self, features: object) -> float:
        """Returns the probability, from the attributes of `features` that the coefficients name."""
        logit = self.intercept + sum(
            weight * getattr(features, name) for name, weight in self.coefficients.items()
        )
        return 0.5 + 0.5 * math.tanh(logit / 2)  # the logistic function, without overflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration(Regression):
    """The probability that the evidence answers the question, from its `Features`.

    `threshold` is the probability from which a question is answered.
    """

    threshold: float


def load_calibration(path: Path = CALIBRATION) -> Calibration:
    """Reads the file that `eval.calibration.abstention` wrote."""
    record = json.loads(path.read_bytes())
    return Calibration(
        intercept=record["intercept"],
        coefficients=record["coefficients"],
        threshold=record["threshold"],
    )
