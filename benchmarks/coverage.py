"""How often the 95 % intervals of an evaluation hold the true mean.

Samples are drawn from distributions whose mean is known, as measures and their paired differences
look: shares, graded measures with many zeros and ones, and differences of which most are 0. Each
figure is the share of `SAMPLES` samples whose interval holds the mean; it is known to ± 0.01. Its
floor is the percentile bootstrap of Efron & Tibshirani 1993, chapter 13, of the same samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks._common import Report, Target
from eval.calibration.confidence import RESAMPLES
from eval.measures.statistics import Interval, difference_interval, mean_interval
from rag.types import Floats

SAMPLES = 2_000
SIZES = (20, 100)
HELD = Target(bound=0.92, at_least=True)

Draw = Callable[[np.random.Generator, int], Floats]


@dataclass(frozen=True, slots=True)
class Population:
    """Values of one kind; `mean` is their true one."""

    name: str
    mean: float
    draw: Draw
    paired: bool = False

    def interval(self, values: Floats) -> Interval:
        """The one that an evaluation gives."""
        interval = difference_interval if self.paired else mean_interval
        return interval(values, most=1)


def _share(p: float) -> Population:
    return Population(f"share of {p:g}", p, lambda rng, n: (rng.random(n) < p).astype(float))


def _graded(rng: np.random.Generator, n: int) -> Floats:
    """As nDCG: 62 % are 1, 10 % are 0, the others between."""
    kind = rng.random(n)
    return np.where(kind < 0.62, 1.0, np.where(kind < 0.72, 0.0, rng.beta(3, 2, n)))


def _flips(wins: float, losses: float) -> Draw:
    def draw(rng: np.random.Generator, n: int) -> Floats:
        kind = rng.random(n)
        return (kind < wins).astype(float) - (kind > 1 - losses)

    return draw


def _moved(rng: np.random.Generator, n: int) -> Floats:
    """Three of ten questions come out otherwise, by chance in either direction."""
    return (rng.random(n) < 0.3) * rng.normal(0.05, 0.4, n)


def _won(rng: np.random.Generator, n: int) -> Floats:
    """One of ten questions comes out better, none worse."""
    return (rng.random(n) < 0.1) * rng.uniform(0.2, 1, n)


POPULATIONS = (
    _share(0.5),
    _share(0.8),
    _share(0.95),
    Population("graded, mean 0.788", 0.62 + 0.28 * 0.6, _graded),
    Population("graded, mean 0.286", 2 / 7, lambda rng, n: rng.beta(2, 5, n)),
    Population("difference of shares, 10 % won", 0.1, _flips(0.1, 0.0), paired=True),
    Population("difference of shares, 10 % each", 0.0, _flips(0.1, 0.1), paired=True),
    Population("graded difference, 30 % moved", 0.015, _moved, paired=True),
    Population("graded difference, 10 % won", 0.06, _won, paired=True),
)


def run() -> Report:
    """Each kind of values, in samples of each size."""
    report = Report()
    for population in POPULATIONS:
        for size in SIZES:
            rng = np.random.default_rng(size)
            samples = [population.draw(rng, size) for _ in range(SAMPLES)]
            held = coverage(population.interval, samples, population.mean)
            floor = coverage(partial(bootstrap, rng=rng), samples, population.mean)
            report.add(f"{population.name}, n = {size}", held, floor=floor, target=HELD)
    return report


def coverage(interval: Callable[[Floats], Interval], samples: list[Floats], mean: float) -> float:
    """The share of the samples whose interval holds the mean."""
    found = [interval(sample) for sample in samples]
    return float(np.mean([low - 1e-12 <= mean <= high + 1e-12 for low, high in found]))


def bootstrap(values: Floats, rng: np.random.Generator) -> Interval:
    """The percentile bootstrap's."""
    chosen = rng.integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(values[chosen].mean(axis=1), [2.5, 97.5])
    return Interval(float(low), float(high))
