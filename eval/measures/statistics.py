"""Confidence intervals of means, and tests of two configurations: pure functions on arrays.

Questions are assumed to be drawn independently from those that could be asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eval.measures.two_samples import DRAWS_AT_ONCE, holm
from rag.process.extras import needing
from rag.types import Floats

DRAWS = 10_000
"""Permutations: a p-value of 0.05 is known to ± 0.002."""
EXACT = 13
"""Differences, at most, of which all permutations are tried: 2^13 are fewer than `DRAWS`."""


UPPER = 0.975
"""Quantile at the upper end of a two-sided 95 % interval."""
Z = NormalDist().inv_cdf(UPPER)


class Interval(NamedTuple):
    """A 95 % confidence interval of a mean."""

    low: float
    high: float


def mean_interval(values: Floats, *, most: float) -> Interval:
    """Returns the interval of the mean of float64[n], n ≥ 1, none below 0 and none above `most`.

    If `most` is 1 and all values are 0 or 1, they are a share: Wilson's score interval, 1927,
    https://doi.org/10.2307/2276774, as Brown, Cai & DasGupta 2001,
    https://doi.org/10.1214/ss/1009213286, recommend it. For other values: Student's t. Its interval
    is a point if all values are the same. benchmarks/coverage.py measures how often they hold.
    """
    if most == 1 and np.isin(values, (0, 1)).all():
        return _wilson(values)
    low, high = _student(values)
    return Interval(max(low, 0.0), min(high, most))


def difference_interval(differences: Floats, *, most: float) -> Interval:
    """Returns the interval of the mean of paired differences, float64[n], n ≥ 1.

    If `most` is 1 and all are -1, 0 or 1, they are those of two shares: Bonett & Price 2012,
    https://doi.org/10.3102/1076998611411915, which Fagerland et al. 2014,
    https://doi.org/10.1002/sim.6148, recommend for small samples. For other differences:
    Student's t. Its interval is a point if all differences are the same.
    """
    if most == 1 and np.isin(differences, (-1, 0, 1)).all():
        return _bonett_price(differences)
    return _student(differences)


def _wilson(values: Floats) -> Interval:
    n, share = len(values), float(values.mean())
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    # At 0 and 1 an end is exact, but for rounding.
    return Interval(0.0 if share == 0 else middle - half, 1.0 if share == 1 else middle + half)


def _bonett_price(differences: Floats) -> Interval:
    n = len(differences) + 2
    wins, losses = ((float((differences == sign).sum()) + 1) / n for sign in (1, -1))
    half = Z * math.sqrt((wins + losses - (wins - losses) ** 2) / n)
    middle = wins - losses
    return Interval(max(middle - half, -1.0), min(middle + half, 1.0))


def _student(values: Floats) -> Interval:
    values = np.sort(values)  # the result does not depend on the order in which questions ended
    mean = float(values.mean())
    if np.ptp(values) == 0:
        return Interval(mean, mean)
    with needing("eval", for_="An interval of a mean"):
        from scipy.special import stdtrit

    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    half = float(stdtrit(len(values) - 1, UPPER)) * error
    return Interval(mean - half, mean + half)


def paired_p_value(differences: Floats, *, seed: int = 0) -> float:
    """Returns how often a mean difference is at least as far from 0 if all signs are random.

    The randomisation test of Fisher on pairs, two-sided, as Smucker et al. 2007,
    https://doi.org/10.1145/1321440.1321528, recommend it for retrieval. If the two do not differ,
    either sign of each difference is equally likely. All combinations of signs are tried if they
    are few; otherwise some are drawn, and the observed one counts as one of them (Phipson & Smyth
    2010, https://doi.org/10.2202/1544-6115.1585).

    Args:
        differences: float64[n], question by question.
        seed: of the draws.
    """
    sizes = np.sort(np.abs(differences[differences != 0]))
    observed = abs(differences.sum())
    as_extreme = observed - 1e-9 * sizes.sum()  # equal sums count, however they were rounded

    def sums(positive: npt.NDArray[np.bool_]) -> Floats:
        """Returns float64[draws] sizes of the sums, given bool[draws, n], the positive signs."""
        return np.asarray(np.abs(2 * (positive @ sizes) - sizes.sum()))

    if (n := len(sizes)) <= EXACT:
        every = np.arange(2**n)[:, None] >> np.arange(n) & 1
        return float((sums(every.astype(bool)) >= as_extreme).mean())
    rng = np.random.default_rng(seed)
    drawn = _drawn(lambda size: sums(rng.integers(2, size=(size, n), dtype=bool)), DRAWS)
    return float((np.count_nonzero(drawn >= as_extreme) + 1) / (DRAWS + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The difference of one configuration from another.

    Attributes:
        n: questions that were compared.
        mean: the mean of the differences.
        interval: the interval of that mean.
        wins: questions for which it is above the other.
        losses: questions for which it is below the other.
        p: the p-value of the test for no difference.
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
    """Tests the differences of each measure, with Holm's correction over all of them.

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
            interval=difference_interval(each, most=1),
            wins=int((each > 0).sum()),
            losses=int((each < 0).sum()),
            p=p,
            p_holm=p_holm,
        )
        for (name, each), (p, p_holm) in zip(differences.items(), corrected, strict=True)
    }


def _drawn(draw: Callable[[int], Floats], draws: int) -> Floats:
    """Makes that many draws, a few at once: each may be of thousands of questions."""
    return np.concatenate([draw(DRAWS_AT_ONCE) for _ in range(draws // DRAWS_AT_ONCE)])
