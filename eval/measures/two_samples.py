"""Tests if two samples come from one distribution, and measures their distance: pure functions.

All tests are permutation tests: if nothing changed, the window that an answer fell into is random.
Their level is exact for any distribution, any ties and any number of answers, if the answers are
independent; the test of points holds for short bursts of them, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rag.types import Float32Array, Floats

DRAWS = 4_999
"""Permutations at most: no p-value is below 1 / 5,000."""
DRAWS_AT_ONCE = 100
EXCEEDING = 20
"""Permutations at least as extreme as the observed value, after which no more are drawn."""
CELLS = 128
"""Cells that the distribution of numbers is split into, each of under a hundredth of them."""
BLOCK = 10
"""Points permuted together."""
SAME_POINT = 1e-6
"""Squared distances below this are rounding errors of float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """The value at which two samples differ most, and the shares of each that are above it.

    Its size is the Kolmogorov-Smirnov distance. Between distributions it never exceeds the total
    variation distance: however values of both are paired, they differ in at least that share of the
    pairs (Levin & Peres 2017, Markov Chains and Mixing Times, proposition 4.7).
    """

    value: float
    reference: float
    current: float

    @property
    def size(self) -> float:
        """The difference of the shares, 0 to 1."""
        return abs(self.current - self.reference)


def widest_gap(reference: Floats, current: Floats) -> Gap:
    """Returns the gap between float64[n] and float64[m], neither empty."""
    values = np.unique(np.concatenate([reference, current]))
    before, now = (
        (len(sample) - np.searchsorted(np.sort(sample), values, side="right")) / len(sample)
        for sample in (reference, current)
    )
    at = int(np.argmax(np.abs(now - before)))
    return Gap(value=float(values[at]), reference=float(before[at]), current=float(now[at]))


def numbers_p_value(reference: Floats, current: Floats, rng: np.random.Generator) -> float:
    """Returns the p-value of the Anderson-Darling test of float64[n] and float64[m].

    Scholz & Stephens 1987, https://doi.org/10.1080/01621459.1987.10478517, equation 6, for ties.
    It detects shifts, spreads and tails for which the Kolmogorov-Smirnov test needs larger samples
    (Engmann & Cousineau 2011, Journal of Applied Quantitative Methods 6(3)).

    The numbers are put into cells by quantiles of both samples together, which permuting does not
    change; so it draws counts (multivariate hypergeometric) and takes no longer for more numbers.
    With two values there are two cells: this is Fisher's exact test, drawn instead of summed.
    """
    first, second = _cells(reference, current)
    both, size = first + second, len(reference)
    up_to = both.cumsum()[:-1]
    weights = both[:-1] / (up_to * (both.sum() - up_to))

    def statistics(counts: npt.NDArray[np.int64]) -> Floats:
        excess = counts.cumsum(axis=1)[:, :-1] - size / both.sum() * up_to
        return np.asarray(excess**2 @ weights)

    def draw(n: int) -> Floats:
        drawn = rng.multivariate_hypergeometric(both, size, size=n, method="marginals")
        return statistics(drawn)

    return p_value(float(statistics(first[None])[0]), draw)


def _cells(
    reference: Floats, current: Floats
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Counts the numbers of each sample in each cell, lowest first; equal values share a cell."""
    both = np.concatenate([reference, current])
    levels = np.linspace(0, 1, CELLS + 1)
    upper = np.unique(np.quantile(both, levels, method="inverted_cdf"))
    first, second = (
        np.bincount(np.searchsorted(upper, sample), minlength=len(upper))
        for sample in (reference, current)
    )
    return first, second


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """The similarities of the points of two samples.

    Attributes:
        kernel: float32[n + m, n + m], those of the reference first; 0 on the diagonal.
        reference: n, the number of points of the reference.
    """

    kernel: Float32Array
    reference: int

    def novelty(self) -> tuple[Floats, Floats]:
        """Returns how much nearer each point is to the current sample than to the reference.

        The witness function of Gretton et al. 2012, each point left out of its own sample: it is
        highest for points that the current sample has and the reference lacks (Lloyd & Ghahramani
        2015, Statistical Model Criticism using Kernel Two Sample Tests, NeurIPS 28).

        Returns:
            float64[n] of the reference, float64[m] of the current sample.
        """
        n, m = self.reference, len(self.kernel) - self.reference
        is_reference = np.arange(n + m) < n
        to_reference = self.kernel[:, :n].sum(axis=1, dtype=float) / (n - is_reference)
        to_current = self.kernel[:, n:].sum(axis=1, dtype=float) / (m - ~is_reference)
        novelty = to_current - to_reference
        return novelty[:n], novelty[n:]


def likeness(reference: Float32Array, current: Float32Array) -> Likeness:
    """Compares float32[n, dim] and float32[m, dim], unit norm, by a Gaussian kernel.

    Its width is the median distance, as in the experiments of Gretton et al. 2012.
    """
    points = np.concatenate([reference, current])
    squared = np.maximum(2 - 2 * points @ points.T, 0)
    apart = squared[squared > SAME_POINT]
    width = float(np.median(apart)) if len(apart) else 1.0
    kernel = np.exp(-squared / (2 * width))
    np.fill_diagonal(kernel, 0)
    return Likeness(kernel=kernel, reference=len(reference))


def points_p_value(points: Likeness, rng: np.random.Generator) -> float:
    """Returns the p-value of the squared maximum mean discrepancy, by permuting.

    The unbiased estimate of Gretton et al. 2012, lemma 6,
    https://jmlr.org/papers/v13/gretton12a.html. Blocks of successive points are permuted whole: so
    points may come in bursts, as long as a burst is short compared with a block (Künsch 1989,
    Annals of Statistics 17(3):1217-1241). Points that fill no block are left out.
    """
    kernel, first = _blocks(points)
    n, m = first * BLOCK, (len(kernel) - first) * BLOCK
    sums = kernel.sum(axis=1)
    labels = (np.arange(len(kernel)) < first).astype(float)

    def discrepancies(chosen: Floats) -> Floats:
        """Returns float64[draws] for float64[draws, blocks], 1 for blocks of the reference."""
        inside = np.einsum("ij,ij->i", chosen @ kernel, chosen)
        across = chosen @ sums - inside
        outside = sums.sum() - inside - 2 * across
        squared = inside / (n * (n - 1)) + outside / (m * (m - 1)) - 2 * across / (n * m)
        return np.asarray(squared)

    def draw(size: int) -> Floats:
        return discrepancies(rng.permuted(np.tile(labels, (size, 1)), axis=1))

    return p_value(float(discrepancies(labels[None])[0]), draw)


def _blocks(points: Likeness) -> tuple[Floats, int]:
    """Sums the kernel over pairs of blocks, float64[blocks, blocks]; counts the reference's."""
    n, m = points.reference, len(points.kernel) - points.reference
    whole = np.r_[: n // BLOCK * BLOCK, n : n + m // BLOCK * BLOCK]
    kernel = points.kernel[np.ix_(whole, whole)].astype(float)
    blocks = len(whole) // BLOCK
    return kernel.reshape(blocks, BLOCK, blocks, BLOCK).sum(axis=(1, 3)), n // BLOCK


def p_value(observed: float, draw: Callable[[int], Floats]) -> float:
    """Returns how often permutations are at least as extreme as the observed statistic.

    Drawing ends early if they often are: then the share itself is an exact p-value (Besag &
    Clifford 1991, https://doi.org/10.1093/biomet/78.2.301). At the end, the observed statistic
    counts as one of the permutations (Phipson & Smyth 2010,
    https://doi.org/10.2202/1544-6115.1585).

    Args:
        observed: the statistic; large is extreme.
        draw: n → float64[n], the statistics of n random permutations.
    """
    as_extreme = observed - 1e-9 * abs(observed)  # equal ones count, however they were rounded
    exceeding = drawn = 0
    while drawn < DRAWS:
        found = np.flatnonzero(draw(min(DRAWS_AT_ONCE, DRAWS - drawn)) >= as_extreme)
        if exceeding + len(found) >= EXCEEDING:
            return EXCEEDING / (drawn + int(found[EXCEEDING - exceeding - 1]) + 1)
        exceeding += len(found)
        drawn += DRAWS_AT_ONCE
    return (exceeding + 1) / (DRAWS + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values corrected for the number of tests, in input order.

    By them, false alarms of all tests together are as rare as those of a single test (Holm 1979,
    https://www.jstor.org/stable/4615733), however the tests depend on each other.
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1)
    return [float(each) for each in adjusted]
