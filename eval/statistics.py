"""How sure a mean is, and whether two configurations differ: pure functions on arrays.

Questions are taken as drawn independently from those that could be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eval.confidence import RESAMPLES, Floats
from eval.two_samples import DRAWS_AT_ONCE, holm

DRAWS = 10_000
"""Permutations: a p-value of 0.05 is known to ± 0.002."""
EXACT = 13
"""Differences of which all permutations are gone through: 2^13 are fewer than `DRAWS`."""


class Interval(NamedTuple):
    """Where 95 % of the means of samples like this one lie."""

    low: float
    high: float


def mean_interval(values: Floats, *, seed: int = 0) -> Interval:
    """How sure the mean of float64[n], n ≥ 1, is; of paired differences, that of their mean.

    The percentile bootstrap of Efron & Tibshirani 1993, chapter 13. The order of the values, which
    is that in which questions happened to end, makes no difference.
    """
    rng, ordered = np.random.default_rng(seed), np.sort(values)

    def draw(size: int) -> Floats:
        chosen = rng.integers(len(ordered), size=(size, len(ordered)))
        return np.asarray(ordered[chosen].mean(axis=1))

    low, high = np.percentile(_drawn(draw, RESAMPLES), [2.5, 97.5])
    return Interval(float(low), float(high))


def paired_p_value(differences: Floats, *, seed: int = 0) -> float:
    """How often a mean difference is at least as far from 0 if either order is as likely.

    The randomisation test of Fisher on pairs, two-sided, as Smucker et al. 2007,
    https://doi.org/10.1145/1321440.1321528, recommend it for retrieval. If the two do not differ,
    the sign of each difference is as good as drawn by lot. All draws of signs are gone through
    where they are few; else what was observed counts as one of those drawn (Phipson & Smyth 2010,
    https://doi.org/10.2202/1544-6115.1585).

    Args:
        differences: float64[n], question by question.
        seed: of the draws.
    """
    sizes = np.sort(np.abs(differences[differences != 0]))
    observed = abs(differences.sum())
    as_extreme = observed - 1e-9 * sizes.sum()  # equal ones are, however they were rounded

    def sums(positive: npt.NDArray[np.bool_]) -> Floats:
        """Of bool[draws, n]: the differences that are taken for positive."""
        return np.asarray(np.abs(2 * (positive @ sizes) - sizes.sum()))

    if (n := len(sizes)) <= EXACT:
        every = np.arange(2**n)[:, None] >> np.arange(n) & 1
        return float((sums(every.astype(bool)) >= as_extreme).mean())
    rng = np.random.default_rng(seed)
    drawn = _drawn(lambda size: sums(rng.integers(2, size=(size, n), dtype=bool)), DRAWS)
    return float((np.count_nonzero(drawn >= as_extreme) + 1) / (DRAWS + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """By how much one configuration is above another.

    Attributes:
        n: questions that were compared.
        mean: of the differences.
        interval: of that mean.
        wins: questions where it is above the other.
        losses: where it is below.
        p: of the test that it makes no difference.
        p_holm: the same, corrected for the number of measures.
    """

    n: int
    mean: float
    interval: Interval
    wins: int
    losses: int
    p: float
    p_holm: float


def compare(differences: Mapping[str, Floats], *, seed: int = 0) -> dict[str, Difference]:
    """What the differences of each measure say, with Holm's correction over all of them.

    Args:
        differences: float64[n], n ≥ 1, question by question, for each measure.
        seed: of all draws.
    """
    p_values = [paired_p_value(each, seed=seed) for each in differences.values()]
    corrected = zip(p_values, holm(p_values), strict=True)
    return {
        name: Difference(
            n=len(each),
            mean=float(each.mean()),
            interval=mean_interval(each, seed=seed),
            wins=int((each > 0).sum()),
            losses=int((each < 0).sum()),
            p=p,
            p_holm=p_holm,
        )
        for (name, each), (p, p_holm) in zip(differences.items(), corrected, strict=True)
    }


def _drawn(draw: Callable[[int], Floats], draws: int) -> Floats:
    """That many draws, a few at once: they may be of thousands of questions each."""
    return np.concatenate([draw(DRAWS_AT_ONCE) for _ in range(draws // DRAWS_AT_ONCE)])
