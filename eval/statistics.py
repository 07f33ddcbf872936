"""How sure a mean is, and whether two configurations differ: pure functions on arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from eval.confidence import RESAMPLES, Floats

DRAWS = 10_000
"""Permutations: a p-value of 0.05 is known to ± 0.002."""


class Interval(NamedTuple):
    """Where 95 % of the means of samples like this one lie."""

    low: float
    high: float


def mean_interval(values: Floats, *, seed: int = 0) -> Interval:
    """How sure the mean of float64[n], n ≥ 1, is: the percentile bootstrap of Efron & Tibshirani
    1993, chapter 13.
    """  # noqa: D205
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(len(values), size=len(values))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(low), float(high))


def paired_p_value(differences: Floats, *, seed: int = 0) -> float:
    """How often the mean of float64[n] is at least as far from 0 if its signs are drawn by lot."""
    rng = np.random.default_rng(seed)
    least = abs(float(differences.sum())) * (1 - 1e-9)
    drawn = [rng.choice([-1.0, 1.0], len(differences)) @ differences for _ in range(DRAWS)]
    return float((np.count_nonzero(np.abs(drawn) >= least) + 1) / (DRAWS + 1))
