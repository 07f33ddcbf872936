"""Compares runs of a set: which is better, by how much, for which questions, at which stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from eval.compare.attribution import Cause, Stage, attribute
from eval.measures.slices import ANSWERABLE
from eval.measures.statistics import Interval, difference_interval, paired_p_value
from eval.measures.two_samples import holm
from eval.runs.run_folder import Run
from eval.runs.tables import (
    EXPENSES,
    NEUTRAL,
    Table,
    differing_settings,
    gain,
    hint,
    leading,
    most,
    tabulate,
)
from rag.errors import InputError
from rag.types import Floats

ALPHA = 0.05
"""The largest probability that a comparison finds any difference if there is none."""

Verdict = Literal["better", "worse", "other", ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measure in both runs, over the questions that have a value of it in both.

    Attributes:
        measure: its name.
        questions: the number of those questions.
        baseline: the mean in the baseline.
        candidate: the mean in the candidate.
        interval: of the difference, candidate minus baseline.
        p: of the paired permutation test, corrected for all tests of the comparison; None if
            every question has the same value in both.
        wins: questions for which the candidate is better or, for a neutral measure, higher;
            `ties` and `losses` likewise.
        verdict: empty if the difference may be chance; "other" for a neutral measure.
    """

    measure: str
    questions: int
    baseline: float
    candidate: float
    interval: Interval
    p: float | None
    wins: int
    ties: int
    losses: int
    verdict: Verdict

    @property
    def difference(self) -> float:
        """Candidate minus baseline."""
        return self.candidate - self.baseline


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A question whose leading measure changed; `gained` is by how much, negative for a loss.

    `answers` are the baseline's and the candidate's; if one is empty, `reasons` says why.
    `expected` are the gold answers, as far as the runs have them; for a question that should be
    declined, `unanswerable` is True.
    """

    id: str
    question: str
    gained: float
    cause: Cause
    answers: tuple[str, str]
    reasons: tuple[str, str]
    expected: tuple[str, ...]
    unanswerable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A run, the candidate, compared with the baseline.

    Attributes:
        baseline: the label of the baseline.
        candidate: the label of the candidate.
        set_name: the set of both runs.
        questions: the number of questions in the set.
        alpha: the level that corrected p-values are compared with.
        settings: those that differ: dotted name → the values in both runs.
        rows: one for each measure.
        leading: the measure of `changes`.
        changes: all questions that changed, the greatest change first.
    """

    baseline: str
    candidate: str
    set_name: str
    questions: int
    alpha: float
    settings: dict[str, tuple[str, ...]]
    rows: tuple[Row, ...]
    leading: str
    changes: tuple[Change, ...]

    def judged(self, verdict: Verdict) -> list[str]:
        """Returns the measures with this verdict."""
        return [row.measure for row in self.rows if row.verdict == verdict]

    def stages(self, *, gained: bool) -> dict[Stage, int]:
        """Counts the questions that gained, or those that lost, by the stage that caused it."""
        return Counter(c.cause.stage for c in self.changes if (c.gained > 0) == gained)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """A measure of the questions that have a value of it in both runs, float64[n] each."""

    measure: str
    baseline: Floats
    candidate: Floats


def compare(runs: Sequence[Run], *, measure: str | None = None) -> list[Comparison]:
    """Compares every run but the first with the first.

    1. tabulate the runs  2. test every measure of every run  3. correct for the number of tests
    4. find the questions that changed, and at which stage

    Args:
        runs: at least two, of one set.
        measure: the one that decides which questions changed; None: the leading one.

    Raises:
        InputError: The runs are of different sets, one is empty, or has no such measure.
    """
    baseline, *candidates = tabulate(runs)  # 1.
    leads = _leading(baseline, measure)
    paired = [_pairs(baseline, candidate) for candidate in candidates]
    tests = [pair.candidate - pair.baseline for pairs in paired for pair in pairs]
    p_values = iter(corrected_p_values(tests))  # 2. 3.
    return [
        Comparison(
            baseline=baseline.label,
            candidate=candidate.label,
            set_name=baseline.run.info.set_name,
            questions=len(baseline.run.outcomes),
            alpha=ALPHA,
            settings=differing_settings([baseline.run, candidate.run]),
            rows=tuple(_row(pair, next(p_values)) for pair in pairs),
            leading=leads,
            changes=tuple(_changes(baseline, candidate, leads)),  # 4.
        )
        for candidate, pairs in zip(candidates, paired, strict=True)
    ]


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Returns the comparison as a JSON object."""
    body = asdict(comparison)
    for row, row_json in zip(comparison.rows, body["rows"], strict=True):
        row_json |= {"difference": row.difference, "interval": row.interval._asdict()}
    for change, row_json in zip(comparison.changes, body["changes"], strict=True):
        row_json["cause"] = change.cause._asdict()
    return body


def _leading(table: Table, asked_for: str | None) -> str:
    if asked_for is None:
        return leading(table)
    if asked_for not in table.measures:
        raise InputError(
            f"The runs have no measure {asked_for!r}. {hint(asked_for, table.measures)}"
        )
    return asked_for


def corrected_p_values(differences: Sequence[Floats]) -> list[float | None]:
    """Returns p-values of paired permutation tests, corrected by Holm's method.

    Each test is of float64[n] differences; its p-value is None if all of them are 0. Those are not
    counted as tests: it is known in advance that flipping the signs of zeros rejects nothing.
    """
    p_values = [paired_p_value(each) if each.any() else None for each in differences]
    corrected = iter(holm([p for p in p_values if p is not None]))
    return [None if p is None else next(corrected) for p in p_values]


def _pairs(baseline: Table, candidate: Table) -> list[_Pair]:
    """Returns the measures that some question has in both runs; expenses only if not all are 0."""
    found = []
    for name in baseline.names:
        before, now = baseline.column(name), candidate.column(name)
        both = ~(np.isnan(before) | np.isnan(now))
        if both.any() and (name not in EXPENSES or before[both].any() or now[both].any()):
            found.append(_Pair(measure=name, baseline=before[both], candidate=now[both]))
    return found


def _row(pair: _Pair, p: float | None) -> Row:
    gains = gain(pair.measure, pair.candidate, pair.baseline)
    verdict: Verdict = ""
    if p is not None and p <= ALPHA:
        judged: Verdict = "better" if gains.mean() > 0 else "worse"
        verdict = "other" if NEUTRAL.fullmatch(pair.measure) else judged
    return Row(
        measure=pair.measure,
        questions=len(gains),
        baseline=float(pair.baseline.mean()),
        candidate=float(pair.candidate.mean()),
        interval=difference_interval(pair.candidate - pair.baseline, most=most(pair.measure)),
        p=p,
        wins=int((gains > 0).sum()),
        ties=int((gains == 0).sum()),
        losses=int((gains < 0).sum()),
        verdict=verdict,
    )


def _changes(baseline: Table, candidate: Table, measure: str) -> list[Change]:
    gains = gain(measure, candidate.column(measure), baseline.column(measure))
    pairs = zip(gains, baseline.run.outcomes, candidate.run.outcomes, strict=True)
    changes = [
        Change(
            id=before.id,
            question=before.question,
            gained=float(gained),
            cause=attribute(before, now, gained=gained > 0),
            answers=(before.answer, now.answer),
            reasons=(before.error or before.reason or "", now.error or now.reason or ""),
            expected=before.expected or now.expected,
            unanswerable=now.slices.get(ANSWERABLE) == "no",
        )
        for gained, before, now in pairs
        if gained and not np.isnan(gained)
    ]
    return sorted(changes, key=lambda change: (-abs(change.gained), change.id))
