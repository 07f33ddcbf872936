"""Detects drift of live answers from those of a reference window, signal by signal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from eval.measures.two_samples import (
    DRAWS,
    Gap,
    Likeness,
    holm,
    likeness,
    numbers_p_value,
    points_p_value,
    widest_gap,
)
from rag.errors import InputError
from rag.records import Signals
from rag.types import Float32Array, Floats

MIN_ANSWERS = 30
"""Answers that a window needs. With 30 in both, a gap below 0.4 can be chance at the 1 % level."""
MIN_CHANGE = 0.03
"""A change of fewer than three answers in a hundred is no alarm, however significant it is.

With many answers every change is significant. The limit is well under what Cohen 1988 calls small:
a normal distribution that moves by a fifth of its standard deviation has a gap of 0.08; a share
that moves from 5 % to 10 % has one of 0.05.
"""
MAX_QUESTIONS = 1_000
"""Questions of each window whose embeddings are compared, drawn at random.

The cost of the comparison grows with the square of their number.
"""
UNLIKE = 5
"""Questions shown that are most unlike the reference."""

Unit = Literal["characters", "seconds", "share", "currency", "score"]
QUESTIONS = "questions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A signal's values in one window: float64[n], without answers that lack it."""

    name: str
    unit: Unit
    values: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The result for one signal.

    Attributes:
        signal: its name; for scores, that of the score.
        unit: of `reference` and `current`.
        answers: the numbers of answers of the reference and of the current window that have it.
        reference: the median in the reference, or the share if the unit is one.
        current: the same now. For questions: the share on the current window's side of the gap.
        change: the widest gap between both distributions, 0 to 1: about that share of the answers,
            or more, differ from before.
        p: the test's p-value; None if there was no test.
        p_holm: the same, corrected for the number of tests.
        drifted: True if the change is both significant and large enough.
        says: what changed, or why there was no test; empty if nothing changed significantly.
    """

    signal: str
    unit: Unit
    answers: tuple[int, int]
    reference: float | None = None
    current: float | None = None
    change: float | None = None
    p: float | None = None
    p_holm: float | None = None
    drifted: bool = False
    says: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A current window compared with its reference.

    Attributes:
        answers: the numbers of answers of the reference and of the current window.
        alpha: how often, at most, a report has a false alarm if nothing changed.
        seed: of the permutations and of the questions drawn.
        rows: one for each signal.
        unlike: indexes in the current window of the questions that are most unlike the reference,
            the most unlike first; none if questions were not compared.
    """

    answers: tuple[int, int]
    alpha: float
    seed: int
    rows: tuple[Row, ...]
    unlike: tuple[int, ...]

    @property
    def drifted(self) -> bool:
        """True if any signal has drifted."""
        return any(row.drifted for row in self.rows)


def compare(
    reference: Sequence[Signals], current: Sequence[Signals], *, alpha: float = 0.01, seed: int = 0
) -> Report:
    """Compares every signal of the current window with the reference's, both in order of time.

    1. test each number  2. test the questions' embeddings  3. correct for the number of tests

    Raises:
        InputError: A value is not finite, or `alpha` is smaller than permutations can resolve.
    """
    tested = [  # 1.
        _compare_numbers(before, now, seed=seed)
        for before, now in zip(*measured(reference, current), strict=True)
    ]
    row, unlike = _compare_questions(reference, current, seed=seed)  # 2.
    rows = _judge([*tested, row], alpha=alpha)  # 3.
    answers = (len(reference), len(current))
    return Report(answers=answers, alpha=alpha, seed=seed, rows=tuple(rows), unlike=unlike)


def measured(*windows: Sequence[Signals]) -> list[list[Measured]]:
    """Returns the numbers of each window; the same signals for each, in the same order.

    Raises:
        InputError: A number is not finite.
    """
    scores = sorted({name for window in windows for signals in window for name in signals.scores})
    return [
        [
            _measured("question length", "characters", [s.question_chars for s in window]),
            _measured("top score", "score", [s.top_score for s in window]),
            _measured("abstention", "share", [s.abstained for s in window]),
            _measured("latency", "seconds", [s.seconds for s in window]),
            _measured("cost", "currency", [s.cost for s in window]),
            *(_measured(name, "score", [s.scores.get(name) for s in window]) for name in scores),
        ]
        for window in windows
    ]


def _measured(name: str, unit: Unit, values: Sequence[float | None]) -> Measured:
    present = np.array([value for value in values if value is not None], dtype=float)
    if not np.isfinite(present).all():
        raise InputError(f"A value of {name} is not finite: drift is measured on numbers alone.")
    return Measured(name=name, unit=unit, values=present)


def _compare_numbers(before: Measured, now: Measured, *, seed: int) -> Row:
    row = Row(signal=now.name, unit=now.unit, answers=(len(before.values), len(now.values)))
    if min(row.answers) < MIN_ANSWERS:
        return _too_few(row)
    gap = widest_gap(before.values, now.values)
    middle = np.mean if now.unit == "share" else np.median
    return replace(
        row,
        reference=float(middle(before.values)),
        current=float(middle(now.values)),
        change=gap.size,
        p=numbers_p_value(before.values, now.values, np.random.default_rng(seed)),
        says=_gap_in_words(gap, now.unit),
    )


def _compare_questions(
    reference: Sequence[Signals], current: Sequence[Signals], *, seed: int
) -> tuple[Row, tuple[int, ...]]:
    """Returns the row, and the indexes of the questions that are most unlike the reference."""
    answers = (len(_embedded(reference)), len(_embedded(current)))
    row = Row(signal=QUESTIONS, unit="share", answers=answers)
    if min(answers) < MIN_ANSWERS:
        return _too_few(row), ()
    dims = {s.embedding.size for w in (reference, current) for s in w if s.embedding is not None}
    if len(dims) > 1:
        listed = " and ".join(map(str, sorted(dims)))
        says = f"not comparable: the embedder was changed, vectors have {listed} dimensions"
        return replace(row, says=says), ()
    rng = np.random.default_rng(seed)
    points, places = question_likeness(reference, current, rng)
    before, now = points.novelty()
    gap = widest_gap(before, now)
    row = replace(
        row,
        reference=gap.reference,
        current=gap.current,
        change=gap.size,
        p=points_p_value(points, rng),
        says=f"{gap.current:.0%} are of a kind that {gap.reference:.0%} were of",
    )
    return row, tuple(places[i] for i in np.argsort(-now)[:UNLIKE])


def question_likeness(
    reference: Sequence[Signals], current: Sequence[Signals], rng: np.random.Generator
) -> tuple[Likeness, list[int]]:
    """Returns the likeness of questions of both windows, and the indexes of the current ones.

    Raises:
        InputError: An embedding is not finite.
    """
    before, now = (_drawn(_embedded(window), rng) for window in (reference, current))
    points = likeness(_embeddings(reference, before), _embeddings(current, now))
    return points, now


def _embedded(window: Sequence[Signals]) -> list[int]:
    return [place for place, signals in enumerate(window) if signals.embedding is not None]


def _drawn(places: list[int], rng: np.random.Generator) -> list[int]:
    if len(places) <= MAX_QUESTIONS:
        return places
    return [places[i] for i in np.sort(rng.choice(len(places), MAX_QUESTIONS, replace=False))]


def _embeddings(window: Sequence[Signals], places: Sequence[int]) -> Float32Array:
    stacked = np.array([window[place].embedding for place in places], np.float32)
    if not np.isfinite(stacked).all():
        raise InputError("An embedding of a question is not finite: its embedder is at fault.")
    return stacked


def _judge(rows: Sequence[Row], *, alpha: float) -> list[Row]:
    """Returns rows with corrected p-values and verdicts."""
    p_values = [row.p for row in rows if row.p is not None]
    if not len(p_values) / (DRAWS + 1) <= alpha < 1:
        raise InputError(
            f"alpha = {alpha:g}: {DRAWS:,} permutations of {len(p_values)} signals give no"
            f" corrected p-value below {max(1, len(p_values)) / (DRAWS + 1):g}; alpha must be that"
            " at least, and below 1."
        )
    corrected = iter(holm(p_values))
    return [row if row.p is None else _verdict(row, next(corrected), alpha) for row in rows]


def _verdict(row: Row, p_holm: float, alpha: float) -> Row:
    sure = p_holm <= alpha
    is_large = row.change is not None and row.change >= MIN_CHANGE
    says = row.says if is_large else f"changed, but for fewer than {MIN_CHANGE:.0%} of answers"
    return replace(row, p_holm=p_holm, drifted=sure and is_large, says=says if sure else "")


def _too_few(row: Row) -> Row:
    before, now = row.answers
    says = f"too few to compare: {now} now, {before} before; each takes {MIN_ANSWERS}"
    return replace(row, says=says)


def _gap_in_words(gap: Gap, unit: Unit) -> str:
    """Describes the gap from the side that has more answers than before."""
    if unit == "share":
        return f"{gap.current:.0%} abstained, {gap.reference:.0%} did before"
    value = formatted(gap.value, unit)
    if gap.current > gap.reference:
        return f"{gap.current:.0%} are over {value}, {gap.reference:.0%} were before"
    return f"{1 - gap.current:.0%} are at most {value}, {1 - gap.reference:.0%} were before"


def formatted(value: float, unit: Unit) -> str:
    """Formats a value with its unit."""
    match unit:
        case "characters":
            return f"{value:.0f} characters"
        case "seconds":
            return f"{value:.3g} s"
        case "share":
            return f"{value:.1%}"
        case "currency" | "score":
            return f"{value:.3g}"


def to_json(report: Report) -> dict[str, Any]:
    """Returns the report as a JSON object."""
    return asdict(report) | {"drifted": report.drifted}


def to_text(report: Report) -> Iterator[str]:
    """Yields the report as lines for a terminal: a table, then remarks on some signals."""
    before, now = report.answers
    limits = f"p ≤ {report.alpha:g} and a change ≥ {MIN_CHANGE:.0%}"
    yield f"{now:,} answers beside {before:,} of the reference; drifted: {limits}."
    yield ""
    head = ("", "answers", "before", "median or share", "before", "change", "p", "")
    rows = [head, *(_cells(row) for row in report.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for signal, *cells in rows:
        aligned = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        yield "  ".join((signal.ljust(widths[0]), *aligned)).rstrip()
    yield ""
    yield from (f"{row.signal}: {row.says}" for row in report.rows if row.says)
    drifted = [row.signal for row in report.rows if row.drifted]
    if drifted:
        yield f"Drifted: {', '.join(drifted)}."
    else:
        compared = any(row.p is not None for row in report.rows)
        yield "Nothing has drifted." if compared else "Nothing could be compared."


def _cells(row: Row) -> tuple[str, ...]:
    before, now = (f"{n:,}" for n in row.answers)
    if row.p_holm is None or row.reference is None or row.current is None or row.change is None:
        return (row.signal, now, before, "", "", "", "", "not compared")
    return (
        row.signal,
        now,
        before,
        formatted(row.current, row.unit),
        formatted(row.reference, row.unit),
        f"{row.change:.1%}",
        f"{row.p_holm:.4f}",
        "drifted" if row.drifted else "",
    )
