"""Compares the arms of an A/B test, with the level and the corrections of `rag eval compare`.

Chance gave each question to one arm, so the samples are not paired: the test permutes which arm a
question was in, where `eval.compare.comparison` flips the signs of differences of pairs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from eval.compare.comparison import ALPHA, Verdict
from eval.measures.statistics import UPPER, Interval
from eval.measures.two_samples import holm, p_value
from rag.types import Floats

POWER = 0.8
"""The probability with which the smallest difference is found."""
LEAST = 2
"""Values of an arm, at least: one has no variance."""
WORSE_IF_MORE = ("abstained", "seconds", "cost")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmsRow:
    """One measure in both arms.

    Attributes:
        measure: its name.
        questions: of the base, and of the variant.
        base: the mean in the base.
        variant: the mean in the variant.
        difference: the variant's mean minus the base's.
        interval: of the difference, 95 %.
        p: of the permutation test, corrected for all measures by Holm's method.
        verdict: empty if the difference may be chance.
    """

    measure: str
    questions: tuple[int, int]
    base: float
    variant: float
    difference: float
    interval: Interval
    p: float
    verdict: Verdict


def compare_arms(
    base: Mapping[str, Floats], variant: Mapping[str, Floats], *, seed: int = 0
) -> list[ArmsRow]:
    """Compares float64[n] and float64[m] of each measure that both arms have values of."""
    names = [
        name
        for name in base
        if name in variant and min(len(base[name]), len(variant[name])) >= LEAST
    ]
    pairs = [(base[name], variant[name]) for name in names]
    rng = np.random.default_rng(seed)
    corrected = holm([_permuted(before, now, rng) for before, now in pairs])
    return [
        _row(name, before, now, p)
        for name, (before, now), p in zip(names, pairs, corrected, strict=True)
    ]


def smallest_difference(values: Floats, questions: int, share: float, tests: int) -> float:
    """Returns the smallest difference of means that is found with the probability `POWER`.

    By the normal approximation: (z(1 - level / 2k) + z(power)) · sd · sqrt(1/n + 1/m).

    Args:
        values: float64[n] of the base, for their standard deviation.
        questions: in both arms together.
        share: of the variant, 0 to 1.
        tests: k, the measures that are compared.
    """
    z = NormalDist().inv_cdf
    size = math.sqrt(1 / (questions * share) + 1 / (questions * (1 - share)))
    return (z(1 - ALPHA / (2 * tests)) + z(POWER)) * float(values.std(ddof=1)) * size


def power(base: Mapping[str, Floats], questions: int, share: float) -> list[dict[str, Any]]:
    """Returns, by measure, the mean and the smallest difference that a test finds, as JSON."""
    varying = {name: each for name, each in base.items() if len(each) >= LEAST and np.ptp(each)}
    return [
        {
            "measure": name,
            "mean": float(each.mean()),
            "smallest_difference": smallest_difference(each, questions, share, len(varying)),
        }
        for name, each in varying.items()
    ]


def row_json(row: ArmsRow) -> dict[str, Any]:
    """Returns a row as a JSON object."""
    body = asdict(row)
    low, high = body.pop("interval")
    return body | {"low": low, "high": high}


def measured(answers: Sequence[Mapping[str, Any]]) -> dict[str, Floats]:
    """Returns float64[n] by measure, of stored answers as the catalog's rollouts return them."""
    found: dict[str, list[float]] = {"abstained": [], "seconds": [], "cost": [], "confidence": []}
    for answer in answers:
        found["abstained"].append(float(answer["reason"] is not None))
        for name in ("seconds", "cost", "confidence"):
            found[name].append(answer[name])
        for name, value in answer["scores"].items():
            found.setdefault(name, []).append(value)
    return {name: np.array(values, dtype=float) for name, values in found.items()}


def _permuted(before: Floats, now: Floats, rng: np.random.Generator) -> float:
    """Returns the p-value of the difference of means if the arms are random."""
    both, n = np.concatenate([before, now]), len(before)
    total = both.sum()

    def difference(sums: Floats) -> Floats:
        return np.asarray(np.abs(sums / n - (total - sums) / len(now)))

    def draw(size: int) -> Floats:
        return difference(rng.permuted(np.tile(both, (size, 1)), axis=1)[:, :n].sum(axis=1))

    return p_value(float(difference(np.array([before.sum()]))[0]), draw)


def _row(name: str, before: Floats, now: Floats, p: float) -> ArmsRow:
    difference = float(now.mean() - before.mean())
    verdict: Verdict = ""
    if p <= ALPHA:
        verdict = "better" if (difference > 0) != (name in WORSE_IF_MORE) else "worse"
    return ArmsRow(
        measure=name,
        questions=(len(before), len(now)),
        base=float(before.mean()),
        variant=float(now.mean()),
        difference=difference,
        interval=_welch(before, now, difference),
        p=p,
        verdict=verdict,
    )


def _welch(before: Floats, now: Floats, difference: float) -> Interval:
    """Returns Welch's interval, 1947, https://doi.org/10.1093/biomet/34.1-2.28."""
    from scipy.special import stdtrit

    parts = np.array([before.var(ddof=1) / len(before), now.var(ddof=1) / len(now)])
    if not parts.any():
        return Interval(difference, difference)
    freedom = parts.sum() ** 2 / (parts**2 / (len(before) - 1, len(now) - 1)).sum()
    half = float(stdtrit(freedom, UPPER)) * math.sqrt(parts.sum())
    return Interval(difference - half, difference + half)
