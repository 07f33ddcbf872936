from __future__ import annotations

import builtins
import json
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.measures.two_samples import (
    holm,
    likeness,
    numbers_p_value,
    p_value,
    points_p_value,
    widest_gap,
)
from eval.online.drift import MIN_ANSWERS, Report, Row, compare, to_json, to_text
from eval.online.drift_plot import draw
from rag.errors import ConfigError, InputError
from rag.records import Signals
from rag.types import Float32Array
from retrieval.embedders.bulk import embed_all
from retrieval.embedders.embedder import BertEmbedder


def stats() -> Any:
    return import_module("scipy.stats")  # not while tests are collected: it takes a second


Window = list[Signals]
NUMBERS = st.lists(st.integers(0, 9).map(float), min_size=2, max_size=30).map(np.array)


def window(seed: int, n: int, *, dim: int = 8, sampled: float = 0.5) -> Window:
    """Returns answers of one distribution: some abstain, some have no hit, a share is scored."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, dim))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return [
        Signals(
            at=float(i),
            question_chars=int(rng.integers(10, 120)),
            top_score=None if rng.random() < 0.1 else float(rng.beta(6, 3)),
            abstained=bool(rng.random() < 0.1),
            seconds=float(rng.lognormal()),
            cost=float(rng.integers(0, 3)) / 1000,
            scores={"faithfulness": float(rng.integers(0, 5)) / 4}
            if rng.random() < sampled
            else {},
            embedding=point.astype(np.float32),
        )
        for i, point in enumerate(points)
    ]


def rows(report: Report) -> dict[str, Row]:
    return {row.signal: row for row in report.rows}


def drifted(report: Report) -> list[str]:
    return [row.signal for row in report.rows if row.drifted]


def test_false_alarms_are_as_rare_as_promised() -> None:
    """At this alpha 20 of 400 pairs alarm on average, and over 35 once in a thousand times."""
    pairs = ((window(2 * i, 90), window(2 * i + 1, 60)) for i in range(400))
    alarms = sum(compare(*pair, alpha=0.05, seed=i).drifted for i, pair in enumerate(pairs))
    assert alarms <= 35


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_the_test_of_numbers_keeps_its_level_whatever_the_ties(levels: int) -> None:
    rng = np.random.default_rng(levels)
    samples = rng.integers(0, levels, size=(2000, 80)).astype(float)
    p = np.array([numbers_p_value(sample[:50], sample[50:], rng) for sample in samples])
    for alpha in (0.01, 0.05, 0.2):
        assert (p <= alpha).mean() <= alpha + 3.1 * np.sqrt(alpha / len(p))


def test_the_test_of_points_keeps_its_level() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(1000, 70, 4)).astype(np.float32)
    samples /= np.linalg.norm(samples, axis=2, keepdims=True)
    p = np.array([points_p_value(likeness(some[:40], some[40:]), rng) for some in samples])
    for alpha in (0.01, 0.05, 0.2):
        assert (p <= alpha).mean() <= alpha + 3.1 * np.sqrt(alpha / len(p))


def test_bursts_of_like_points_are_no_change() -> None:
    rng = np.random.default_rng(0)
    topics = np.repeat(rng.normal(size=(400, 100, 8)), 3, axis=1)
    samples = (topics + 0.3 * rng.normal(size=topics.shape)).astype(np.float32)
    samples /= np.linalg.norm(samples, axis=2, keepdims=True)
    p = np.array([points_p_value(likeness(some[:150], some[150:]), rng) for some in samples])
    assert (p <= 0.01).mean() <= 0.05


def test_yes_and_no_are_tested_as_fisher_does() -> None:
    reference, current = np.repeat([0.0, 1.0], [180, 20]), np.repeat([0.0, 1.0], [80, 20])
    exact = stats().fisher_exact([[180, 20], [80, 20]]).pvalue
    p = numbers_p_value(reference, current, np.random.default_rng(0))
    assert p == pytest.approx(exact, rel=0.3)


def test_numbers_are_tested_as_anderson_and_darling_do() -> None:
    rng = np.random.default_rng(3)
    reference, current = rng.normal(size=100), rng.normal(0.25, size=80)
    drawn = stats().PermutationMethod(n_resamples=9999, random_state=0)
    expected = stats().anderson_ksamp([reference, current], variant="right", method=drawn).pvalue
    assert numbers_p_value(reference, current, rng) == pytest.approx(expected, rel=0.3)


@given(NUMBERS, NUMBERS)
def test_the_gap_is_the_distance_of_kolmogorov_and_smirnov(
    reference: np.ndarray, current: np.ndarray
) -> None:
    gap = widest_gap(reference, current)
    assert gap.size == pytest.approx(stats().ks_2samp(reference, current, method="asymp").statistic)
    assert gap.current == (current > gap.value).mean()
    assert gap.reference == (reference > gap.value).mean()


def test_drawing_ends_early_where_nothing_is_to_be_seen() -> None:
    drawn = []

    def draw(n: int) -> np.ndarray:
        drawn.append(n)
        return np.ones(n)

    assert p_value(1.0, draw) == 1.0
    assert p_value(2.0, draw) == 1 / 5_000
    assert drawn[0] < 4_999 == sum(drawn[1:])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_multiplies_the_smallest_by_all_and_keeps_the_order(p: list[float]) -> None:
    adjusted = holm(p)
    assert adjusted[int(np.argmin(p))] == pytest.approx(min(1, min(p) * len(p)))
    assert all(p[i] <= adjusted[i] <= 1 for i in range(len(p)))
    for i, j in product(range(len(p)), repeat=2):
        assert p[i] > p[j] or adjusted[i] <= adjusted[j]


def test_each_change_is_found_and_said() -> None:
    reference, current = window(1, 400), window(2, 300)
    longer = [replace(s, question_chars=s.question_chars + 25) for s in current]
    found = compare(reference, longer)
    assert drifted(found) == ["question length"]
    assert rows(found)["question length"].says.endswith("were before")
    less_sure = [replace(s, top_score=s.top_score and s.top_score * 0.8) for s in current]
    assert drifted(compare(reference, less_sure)) == ["top score"]
    silent = [replace(s, abstained=s.abstained or i % 6 == 0) for i, s in enumerate(current)]
    assert drifted(compare(reference, silent)) == ["abstention"]
    slower = [replace(s, seconds=s.seconds * 1.6) for s in current]
    assert drifted(compare(reference, slower)) == ["latency"]
    dearer = [replace(s, cost=s.cost + 0.0005) for s in current]
    assert drifted(compare(reference, dearer)) == ["cost"]
    worse = [replace(s, scores={name: 0.6 * v for name, v in s.scores.items()}) for s in current]
    assert drifted(compare(reference, worse)) == ["faithfulness"]


SUBJECTS = {
    "leave": (
        *("my holiday", "parental leave", "a sick note", "an unpaid day off", "overtime pay"),
        *("the pension plan", "a salary advance", "the notice period", "travel expenses", "tax"),
    ),
    "travel": (
        *("a hotel", "a rental car", "a train ticket", "a visa", "the trade fair"),
        *("a flight", "a conference pass", "the company car", "parking", "a daily allowance"),
    ),
    "servers": (
        *("the database", "a backup", "the mail server", "a firewall rule", "the network"),
        *("a disk quota", "the SSH keys", "a DNS record", "the load balancer", "a container"),
    ),
}
ASKING = (
    "How do I apply for {}?",
    "Who is in charge of {}?",
    "What does the handbook say about {}?",
    "How long does it take to change {}?",
    "Where are the rules for {} written down?",
    "Is there a form for {}?",
    "What has changed this year about {}?",
    "Can somebody else take care of {}?",
)


def questions(topic: str) -> list[str]:
    return [asked.format(subject) for subject in SUBJECTS[topic] for asked in ASKING]


@pytest.mark.anyio
async def test_a_new_topic_is_found_and_its_questions_are_named(embedder: BertEmbedder) -> None:
    known = await embed_all(embedder, questions("leave") + questions("travel"), kind="query")
    new = await embed_all(embedder, questions("servers"), kind="query")
    known = np.random.default_rng(0).permutation(known)
    reference, rest = _asking(known[:90], seed=0), known[90:]
    assert "questions" not in drifted(compare(reference, _asking(rest, seed=1)))
    order = np.random.default_rng(1).permutation(len(rest) + len(new))
    changed = compare(reference, _asking(np.concatenate([rest, new])[order], seed=1))
    assert "questions" in drifted(changed)
    assert all(order[place] >= len(rest) for place in changed.unlike)


def _asking(embeddings: Float32Array, *, seed: int) -> Window:
    answers = window(seed, len(embeddings))
    return [replace(s, embedding=e) for s, e in zip(answers, embeddings, strict=True)]


def test_a_sure_change_of_few_answers_is_no_alarm() -> None:
    reference, current = window(1, 20_000, sampled=0), window(2, 20_000, sampled=0)
    current = [replace(s, seconds=s.seconds * 1.03) for s in current]
    report = compare(reference, current)
    row = rows(report)["latency"]
    assert row.p_holm is not None
    assert row.p_holm < 0.01
    assert not row.drifted
    assert row.says == "changed, but for fewer than 3% of answers"
    assert not report.drifted


@pytest.mark.parametrize(("before", "now"), [(0, 0), (500, 0), (500, 29), (29, 500)])
def test_too_few_answers_are_not_compared(before: int, now: int) -> None:
    report = compare(window(1, before), window(2, now))
    assert not report.drifted
    assert all(row.p is None for row in report.rows)
    assert rows(report)["latency"].says == (
        f"too few to compare: {now} now, {before} before; each takes {MIN_ANSWERS}"
    )
    assert list(to_text(report))[-1] == "Nothing could be compared."


def test_what_a_window_lacks_is_left_out() -> None:
    reference, current = window(1, 100), window(2, 100, sampled=0.1)
    current = [replace(s, top_score=None, embedding=None) for s in current]
    found = rows(compare(reference, current))
    for name in ("top score", "faithfulness", "questions"):
        assert found[name].p is None
        assert found[name].says.startswith("too few")
    assert found["top score"].answers[1] == 0
    assert found["latency"].p is not None


def test_what_never_varies_has_not_drifted() -> None:
    reference, current = window(1, 100), window(2, 100)
    vector = current[0].embedding
    same: dict[str, Any] = {
        "question_chars": 9,
        "cost": 0.0,
        "abstained": False,
        "embedding": vector,
    }
    found = rows(compare(*([replace(s, **same) for s in w] for w in (reference, current))))
    for name in ("question length", "cost", "abstention", "questions"):
        assert (found[name].p, found[name].change) == (1.0, 0.0)


def test_embeddings_of_another_embedder_are_not_compared() -> None:
    found = rows(compare(window(1, 100), window(2, 100, dim=16)))["questions"]
    assert (found.p, found.drifted) == (None, False)
    assert found.says == (
        "not comparable: the embedder was changed, vectors have 8 and 16 dimensions"
    )


@pytest.mark.parametrize(
    "broken",
    [
        {"seconds": float("nan")},
        {"top_score": float("inf")},
        {"scores": {"faithfulness": float("nan")}},
        {"embedding": np.full(8, np.nan, np.float32)},
    ],
)
def test_what_is_no_number_is_refused(broken: dict[str, Any]) -> None:
    reference, current = window(1, 100), window(2, 100)
    with pytest.raises(InputError, match="not finite"):
        compare(reference, [*current, replace(current[0], **broken)])


@pytest.mark.parametrize("alpha", [0.0, 0.0001, 1.0])
def test_an_alpha_that_permutations_cannot_tell_is_refused(alpha: float) -> None:
    with pytest.raises(InputError, match="alpha"):
        compare(window(1, 100), window(2, 100), alpha=alpha)


def test_a_report_is_the_same_each_time_and_goes_out_as_json() -> None:
    reference, current = window(1, 1500), window(2, 1200)
    report = compare(reference, current, seed=7)
    assert report == compare(reference, current, seed=7)
    body = json.loads(json.dumps(to_json(report)))
    assert body["drifted"] is False
    assert body["answers"] == [1500, 1200]
    assert [row["signal"] for row in body["rows"]] == [row.signal for row in report.rows]


def test_people_read_a_table_and_what_changed() -> None:
    reference, current = window(1, 300), window(2, 200)
    current = [replace(s, seconds=s.seconds + 2, embedding=None) for s in current]
    lines = list(to_text(compare(reference, current)))
    assert lines[0].startswith("200 answers beside 300 of the reference;")
    latency = next(line for line in lines if line.startswith("latency  "))
    assert latency.split()[1:3] == ["200", "300"]
    assert latency.endswith("drifted")
    assert any(line.startswith("latency: ") and "are over" in line for line in lines)
    assert "questions: too few to compare: 0 now, 300 before; each takes 30" in lines
    assert lines[-1] == "Drifted: latency."


@pytest.mark.parametrize("answers", [(300, 200), (300, 0)])
def test_the_picture_has_a_panel_for_each_signal(tmp_path: Path, answers: Sequence[int]) -> None:
    pytest.importorskip("matplotlib")
    reference, current = window(1, answers[0]), window(2, answers[1])
    current = [replace(s, seconds=s.seconds + 2) for s in current]
    path = tmp_path / "drift.png"
    draw(compare(reference, current), reference, current, path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return usual(name, *args)

    report = compare([], [])
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'plumbline-rag\[eval\]'"):
        draw(report, [], [], tmp_path / "drift.png")
