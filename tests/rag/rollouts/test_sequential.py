"""The bounds hold at all times at once, for any distribution and any sizes of batches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rag.records import Tally
from rag.rollouts.sequential import Sequence
from rag.types import Floats

ALPHA = 0.1
"""Large, so that a bound that holds too rarely shows in few runs."""
Draw = Callable[[np.random.Generator, int], Floats]
DRAWS: dict[str, tuple[float, Draw]] = {
    "fair coin": (0.5, lambda rng, n: (rng.random(n) < 0.5).astype(float)),
    "rare error": (0.01, lambda rng, n: (rng.random(n) < 0.01).astype(float)),
    "beta": (0.2, lambda rng, n: rng.beta(1, 4, n)),
    "narrow": (0.6, lambda rng, n: rng.uniform(0.55, 0.65, n)),
    "constant": (0.3, lambda _, n: np.full(n, 0.3)),
}


def tally(values: Floats) -> Tally:
    return Tally(len(values), float(values.sum()), float((values**2).sum()))


def missed(draw: Draw, mean: float, seed: int, size: int) -> tuple[bool, bool]:
    """Returns if the lower, and the upper bound was ever on the wrong side of the mean."""
    rng = np.random.default_rng(seed)
    sums, low, high = Sequence(), False, False
    for _ in range(400 // size):
        sums = sums.add(tally(draw(rng, size)), alpha=ALPHA)
        low |= sums.lower(ALPHA) > mean + 1e-9
        high |= sums.upper(ALPHA) < mean - 1e-9
    return low, high


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("name", DRAWS)
def test_a_bound_is_seldom_wrong_at_any_time(name: str, size: int) -> None:
    mean, draw = DRAWS[name]
    runs = 200
    found = np.array([missed(draw, mean, seed, size) for seed in range(runs)])
    assert (found.mean(axis=0) <= ALPHA + 2 * (ALPHA * (1 - ALPHA) / runs) ** 0.5).all()


def test_bounds_narrow_with_the_values_and_faster_if_they_vary_less() -> None:
    rng = np.random.default_rng(0)
    widths = {}
    for name in ("fair coin", "narrow"):
        sums = Sequence()
        for _ in range(20):
            sums = sums.add(tally(DRAWS[name][1](rng, 100)), alpha=0.001)
        widths[name] = sums.upper(0.001) - sums.lower(0.001)
    assert widths["fair coin"] < 0.12
    assert widths["narrow"] < widths["fair coin"] / 5


def test_it_is_the_sequence_of_the_paper_for_batches_of_one() -> None:
    values = np.random.default_rng(3).beta(2, 3, 50)
    sums = Sequence()
    for value in values:
        sums = sums.add(tally(np.array([value])), alpha=0.05)
    # Waudby-Smith & Ramdas 2024, equations 14 and 15, one-sided, step by step.
    total = spread = weights = weighted = penalty = 0.0
    for t, x in enumerate(values, start=1):
        mean, variance = (0.5 + total) / t, (0.25 + spread) / t
        weight = min((2 * np.log(1 / 0.05) / (variance * t * np.log(1 + t))) ** 0.5, 0.75)
        penalty += 4 * (x - mean) ** 2 * (-np.log(1 - weight) - weight) / 4
        weights, weighted = weights + weight, weighted + weight * x
        spread, total = spread + (x - mean) ** 2, total + x
    lower = (weighted - np.log(1 / 0.05) - penalty) / weights
    assert sums.lower(0.05) == pytest.approx(max(lower, 0), abs=1e-9)


def test_without_values_nothing_is_known() -> None:
    assert (Sequence().lower(0.05), Sequence().upper(0.05)) == (0.0, 1.0)
    assert Sequence().add(Tally(), alpha=0.05) == Sequence()
    assert Sequence(*Sequence(1, 2, 3, 4, 5, 6).to_list()) == Sequence(1, 2, 3, 4, 5, 6)
