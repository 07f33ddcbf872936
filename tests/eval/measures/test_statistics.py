"""Intervals, tests and the summary of a run."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.measures.statistics import (
    Interval,
    compare,
    difference_interval,
    mean_interval,
    paired_p_value,
)
from eval.measures.two_samples import holm
from eval.offline.summary import abstention, risk_coverage_curve, summarize
from eval.runs.run_folder import Outcome
from rag.types import Floats

FEW = st.lists(st.integers(-4, 4).map(lambda x: x / 4), min_size=2, max_size=9).map(np.array)


def stats() -> Any:
    return import_module("scipy.stats")  # not while tests are collected: it takes half a second


def scipy_p_value(differences: Floats, resamples: int) -> float:
    found = stats().permutation_test(
        (differences,),
        lambda x, axis: x.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


@given(FEW)
def test_few_differences_are_tested_exactly_as_scipy_does(differences: Floats) -> None:
    assert paired_p_value(differences) == pytest.approx(scipy_p_value(differences, 1000))


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.1, 0.2])
@pytest.mark.parametrize("levels", [1, 20, None])
def test_many_differences_are_tested_as_scipy_does(shift: float, levels: int | None) -> None:
    differences = np.random.default_rng(4).normal(shift, 0.5, size=120)
    if levels:
        differences = np.round(differences * levels) / levels
    p, theirs = paired_p_value(differences), scipy_p_value(differences, 9_999)
    assert p == pytest.approx(theirs, abs=4 * np.sqrt(2 * p * (1 - p) / 10_000) + 2e-4)


def test_rounding_makes_no_difference() -> None:
    assert np.array([1 / 3, -1.0, 2 / 3]).sum() != 0
    assert paired_p_value(np.array([1 / 3, -1.0, 2 / 3])) == 1
    assert paired_p_value(np.tile([1 / 3, -1.0, 2 / 3], 30)) == 1


def test_no_difference_and_one_direction() -> None:
    assert paired_p_value(np.zeros(50)) == 1
    assert paired_p_value(np.ones(10)) == 2 / 2**10
    assert paired_p_value(np.ones(100)) == 1 / 10_001
    assert paired_p_value(np.r_[np.ones(10), np.zeros(500)]) == 2 / 2**10


def test_holm_on_a_published_table() -> None:
    """R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


SHARES = st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=200).map(np.array)


def held(mean: float, intervals: list[Interval]) -> float:
    return float(np.mean([low <= mean <= high for low, high in intervals]))


def test_the_interval_of_a_share_holds_it_as_often_as_promised() -> None:
    """Twenty questions of which 95 % are answered correctly."""
    rng = np.random.default_rng(0)
    samples = (rng.random(size=(400, 20)) < 0.95).astype(float)
    assert held(0.95, [mean_interval(sample, most=1) for sample in samples]) >= 0.9


def test_the_interval_of_graded_values_holds_their_mean_as_often_as_promised() -> None:
    samples = np.random.default_rng(0).beta(2, 5, size=(400, 10))
    assert 0.92 <= held(2 / 7, [mean_interval(sample, most=1) for sample in samples]) <= 0.98


@pytest.mark.parametrize("shares", [True, False])
def test_the_interval_of_paired_differences_holds_their_mean_as_often_as_promised(
    shares: bool,
) -> None:
    """Twenty questions of which 30 % have another result."""
    rng = np.random.default_rng(0)
    moved = rng.random(size=(600, 20)) < 0.3
    steps = rng.choice([-1.0, 1.0], moved.shape) if shares else rng.normal(0, 0.4, moved.shape)
    intervals = [difference_interval(sample, most=1) for sample in moved * steps]
    assert held(0, intervals) >= 0.93


@given(SHARES)
def test_the_interval_of_a_share_is_wilsons(values: Floats) -> None:
    n, right = len(values), int(values.sum())
    theirs = stats().binomtest(right, n).proportion_ci(0.95, method="wilson")
    interval = mean_interval(values, most=1)
    assert interval == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert 0 <= interval.low <= values.mean() <= interval.high <= 1
    assert interval.high - interval.low > 0


@given(FEW)
def test_the_interval_of_other_values_is_students(values: Floats) -> None:
    """The order of the values does not matter."""
    interval = difference_interval(values, most=10)
    assert interval == difference_interval(values[::-1], most=10)
    if np.ptp(values) == 0:
        assert interval == Interval(values[0], values[0])
    else:
        theirs = stats().ttest_1samp(values, 0).confidence_interval(0.95)
        assert interval == pytest.approx((theirs.low, theirs.high))


def test_the_interval_of_a_difference_of_shares_is_bonett_and_prices() -> None:
    """7 of 21 pairs are won and 1 is lost; the formula adds one to each and two pairs."""
    differences = np.array([1.0] * 7 + [-1.0] + [0.0] * 13)
    won, lost = 8 / 23, 2 / 23
    half = 1.959964 * np.sqrt((won + lost - (won - lost) ** 2) / 23)
    expected = (won - lost - half, won - lost + half)
    assert difference_interval(differences, most=1) == pytest.approx(expected, abs=1e-6)


def test_no_interval_leaves_what_is_possible() -> None:
    graded = np.array([1.0, 1.0, 1.0, 0.3])
    assert mean_interval(graded, most=1).high == 1
    assert mean_interval(1 - graded, most=1).low == 0
    assert difference_interval(np.ones(5), most=1).high == 1
    assert mean_interval(np.zeros(20), most=np.inf) == Interval(0, 0)  # costs are no share


MEASURES = ("nDCG@10", "f1", "contains_gold")


def configurations(seed: int, *, better: float) -> dict[str, Floats]:
    """Differences between two configurations on 300 questions, in three measures.

    Most questions have equal results, as in real runs. Noise moves 30 % of them either way, and a
    better configuration wins the share `better` of all questions in addition.
    """
    rng = np.random.default_rng(seed)
    found = {}
    for name in MEASURES:
        moved = rng.random(300) < 0.3
        noise = moved * rng.normal(0, 0.4, size=300)
        won = (rng.random(300) < better) * rng.uniform(0.2, 1, size=300)
        found[name] = np.round(noise) if name == "contains_gold" else noise
        found[name] = found[name] + won
    return found


def test_of_20_pairs_the_true_differences_are_found_and_hardly_any_other() -> None:
    """More than 2 alarms in 10 equal pairs happen by chance once in a hundred times."""
    same = [compare(configurations(seed, better=0)) for seed in range(10)]
    different = [compare(configurations(seed, better=0.15)) for seed in range(10, 20)]
    assert sum(any(each.p_holm <= 0.05 for each in pair.values()) for pair in same) <= 2
    for pair in different:
        for each in pair.values():
            assert each.p_holm <= 0.05
            assert each.interval.low > 0


def test_false_alarms_are_as_rare_as_promised() -> None:
    """At this level 20 of 400 pairs alarm on average, and over 35 once in a thousand times."""
    alarms = 0
    for seed in range(400):
        differences = configurations(1000 + seed, better=0).values()
        alarms += min(holm([paired_p_value(each, seed=seed) for each in differences])) <= 0.05
    assert alarms <= 35


def test_a_comparison_says_how_many_and_by_how_much() -> None:
    (found,) = compare({"f1": np.array([0.5, 0.5, 0.0, -0.25])}).values()
    assert (found.n, found.wins, found.losses) == (4, 2, 1)
    assert found.mean == 0.1875
    assert found.p == found.p_holm == 0.5
    assert found.interval.low < found.mean < found.interval.high
    assert compare({}) == {}


def outcome(
    *, confidence: float = 0.5, answer: str = "x", answerable: bool = True, **more: Any
) -> Outcome:
    fields: dict[str, Any] = {
        "id": "q",
        "question": "?",
        "slices": {"answerable": "yes" if answerable else "no"},
        "timings": {"search": 5.0},
        "measures": {},
    }
    return Outcome(**{**fields, "confidence": confidence, "answer": answer, **more})


def right(confidence: float, *, contains: float = 1.0, **more: Any) -> Outcome:
    return outcome(confidence=confidence, measures={"contains_gold": contains}, **more)


def test_abstention_is_measured_at_the_threshold_and_along_the_confidence() -> None:
    outcomes = [
        right(0.9),
        right(0.8, contains=0),
        right(0.7),
        right(0.6, contains=0, answerable=False),
        right(0.1, contains=0, answer=""),
        right(0.05, contains=1, answer="", answerable=False),
        outcome(error="down", answer="", measures={"contains_gold": 0.0}),
    ]
    assert abstention(outcomes) == {
        "answered": 4 / 6,
        "answerable_answered": 3 / 4,
        "unanswerable_declined": 1 / 2,
        "right": 1 / 2,
        "auroc_answerable": 7 / 8,
        "auroc_right": 3 / 4,
        "risk_coverage_area": pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4),
    }
    coverage, risk = risk_coverage_curve(outcomes)
    assert coverage == pytest.approx(np.array([1, 2, 3, 4]) / 7)
    assert risk == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])


def test_of_abstention_only_what_can_be_said_is() -> None:
    declined = [right(0.1, contains=0, answer=""), right(0.2, contains=0, answer="")]
    assert abstention(declined) == {"answered": 0.0, "answerable_answered": 0.0}
    assert [len(each) for each in risk_coverage_curve(declined)] == [0, 0]
    assert abstention([]) == {}
    assert abstention([outcome(slices={})]) == {"answered": 1.0}


def test_a_summary_has_means_intervals_and_slices() -> None:
    rows: list[dict[str, Any]] = [
        {"id": f"q{i}", "slices": {"lang": lang}, "seconds": seconds, "measures": {"f1": f1}}
        for i, (lang, seconds, f1) in enumerate([("de", 1.0, 0.0), ("de", 3.0, 1.0), ("es", 2, 1)])
    ]
    failed: dict[str, Any] = {
        "slices": {"lang": "es"},
        "answer": "",
        "error": "down",
        "measures": {"f1": 0.0},
    }
    rows[0]["degraded"] = ("rerank",)
    summary = summarize([*(outcome(**row, cost=0.5) for row in rows), outcome(**failed)])
    assert (summary["questions"], summary["failed"], summary["degraded"]) == (4, 1, 1)
    low, high = mean_interval(np.array([0.0, 0.0, 1.0, 1.0]), most=1)
    assert summary["measures"]["f1"] == {"n": 4, "mean": 0.5, "low": low, "high": high}
    assert summary["latency"]["total"]["p50"] == 2000
    assert summary["latency"]["search"]["n"] == 3
    assert summary["cost"] == {"n": 3, "mean": 0.5, "p50": 0.5, "p95": 0.5, "p99": 0.5}
    spanish = summary["slices"]["lang"]["es"]
    assert (spanish["questions"], spanish["failed"], spanish["degraded"]) == (2, 1, 0)
    assert spanish["measures"]["f1"]["mean"] == 0.5
    assert list(summary["slices"]["lang"]) == ["de", "es"]
    assert json.loads(json.dumps(summary)) == summary


def test_a_run_without_questions_has_a_summary() -> None:
    assert summarize([]) == {
        "questions": 0,
        "failed": 0,
        "degraded": 0,
        "measures": {},
        "abstention": {},
        "latency": {"total": {"n": 0}},
        "input_tokens": {"n": 0},
        "output_tokens": {"n": 0},
        "cost": {"n": 0},
        "chunks_asked": {"n": 0},
        "slices": {},
    }
