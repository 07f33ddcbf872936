"""Summarizes a run: means with their intervals, abstention, latency, tokens and cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from eval.calibration.confidence import Judged, auroc, risk_coverage
from eval.measures.slices import ANSWERABLE
from eval.measures.statistics import mean_interval
from eval.runs.run_folder import Outcome
from rag.types import Floats

RIGHT = "contains_gold"
"""The measure by which an answer is right or wrong."""
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def summarize(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Returns the content of summary.json.

    Of all questions, and under `slices` (name → value → the same) of each part of them:
    `questions`, `failed`, `degraded`, `measures` (name → `n`, `mean`, `low`, `high`), `abstention`
    (`abstention`), and the quantiles of `latency` (milliseconds by stage, and `total`),
    `input_tokens`, `output_tokens`, `cost` and `chunks_asked` (for the ranking of documents), of
    the questions that did not fail.
    """
    parts: defaultdict[str, defaultdict[str, list[Outcome]]]
    parts = defaultdict(lambda: defaultdict(list))
    for outcome in outcomes:
        for name, value in outcome.slices.items():
            parts[name][value].append(outcome)
    slices = {
        name: {value: _part(by_value[value]) for value in sorted(by_value)}
        for name, by_value in parts.items()
    }
    return {**_part(outcomes), "slices": slices}


def abstention(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Measures abstention and confidence, over the questions that did not fail.

    Figures that cannot be computed are left out.

    - `answered`: the share that was answered; `answerable_answered` of the answerable questions,
      `unanswerable_declined` the share of the others that was declined.
    - `right`: the share of the answers that are right (`RIGHT`).
    - `auroc_answerable`: how well the confidence separates answerable questions from the others.
    - `auroc_right`: how well it separates right answers from wrong ones.
    - `risk_coverage_area`: the mean risk along `risk_coverage_curve` (Geifman et al. 2019,
      https://arxiv.org/abs/1805.08206); small is good.
    """
    completed = [outcome for outcome in outcomes if not outcome.error]
    answerable = [o for o in completed if o.slices.get(ANSWERABLE) == "yes"]
    others = [o for o in completed if o.slices.get(ANSWERABLE) == "no"]
    right = [o for o in _checked(outcomes) if o.measures[RIGHT] == 1]
    wrong = [o for o in _checked(outcomes) if o.measures[RIGHT] != 1]
    _, risk = risk_coverage_curve(outcomes)
    found = {
        "answered": _share(bool(o.answer) for o in completed),
        "answerable_answered": _share(bool(o.answer) for o in answerable),
        "unanswerable_declined": _share(not o.answer for o in others),
        "right": _share(o.measures[RIGHT] == 1 for o in [*right, *wrong]),
        "auroc_answerable": _auroc(answerable, others),
        "auroc_right": _auroc(right, wrong),
        "risk_coverage_area": float(risk.mean()) if len(risk) else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def risk_coverage_curve(outcomes: Sequence[Outcome]) -> tuple[Floats, Floats]:
    """Returns the share of the answers that is wrong, if only the most confident ones are given.

    Unanswered questions cannot be checked: the curve ends at the answers that pass the threshold.
    With `generator.threshold = 0` these are all questions for which there is any evidence.

    Returns:
        float64[answers] coverage, of all questions, ascending; and float64[answers] risk. Empty
        if no answer can be checked.
    """
    answers = _checked(outcomes)
    if not answers:
        return np.empty(0), np.empty(0)
    judged = Judged(
        confidence=_confidences(answers),
        correct=np.array([float(o.measures[RIGHT] == 1) for o in answers]),
        weights=np.ones(len(answers)),
    )
    coverage, risk = risk_coverage(judged)
    return coverage * len(answers) / sum(RIGHT in o.measures for o in outcomes), risk


def _part(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    completed = [outcome for outcome in outcomes if not outcome.error]
    return {
        "questions": len(outcomes),
        "failed": len(outcomes) - len(completed),
        "degraded": sum(bool(outcome.degraded) for outcome in outcomes),
        "measures": _measures(outcomes),
        "abstention": abstention(outcomes),
        "latency": _latency(completed),
        "input_tokens": _quantiles([o.input_tokens for o in completed]),
        "output_tokens": _quantiles([o.output_tokens for o in completed]),
        "cost": _quantiles([o.cost for o in completed]),
        "chunks_asked": _quantiles([o.chunks_asked for o in completed]),
    }


def _measures(outcomes: Iterable[Outcome]) -> dict[str, dict[str, float]]:
    return {
        name: {"n": len(values), "mean": float(np.mean(values))}
        | mean_interval(np.array(values), most=1)._asdict()
        for name, values in _by_name(outcome.measures for outcome in outcomes).items()
    }


def _latency(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    total = [1000 * outcome.seconds for outcome in outcomes]
    stages = _by_name(outcome.timings for outcome in outcomes)
    return {name: _quantiles(values) for name, values in {"total": total, **stages}.items()}


def _by_name(rows: Iterable[Mapping[str, float]]) -> dict[str, list[float]]:
    """Returns all values of each name, in the order in which names first occur."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows:
        for name, value in row.items():
            found[name].append(value)
    return dict(found)


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {"n": 0}
    at = {name: float(np.quantile(values, level)) for name, level in QUANTILES.items()}
    return {"n": len(values), "mean": float(np.mean(values)), **at}


def _checked(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Returns the answered outcomes that are known to be right or wrong."""
    return [o for o in outcomes if o.answer and RIGHT in o.measures]


def _share(these: Iterable[bool]) -> float | None:
    flags = list(these)
    return sum(flags) / len(flags) if flags else None


def _auroc(positives: Sequence[Outcome], negatives: Sequence[Outcome]) -> float | None:
    if not positives or not negatives:
        return None
    return auroc(_confidences(positives), _confidences(negatives))


def _confidences(outcomes: Sequence[Outcome]) -> Floats:
    return np.array([outcome.confidence for outcome in outcomes])
