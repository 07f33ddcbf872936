"""A comparison in words: for a terminal, and as Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html import escape

from eval.compare.attribution import STAGES
from eval.compare.comparison import Change, Comparison, Row, Verdict
from eval.compare.formatting import (
    aligned,
    cell,
    clipped,
    code,
    interval,
    markdown_table,
    number,
    p_value,
)

MAX_LISTED_CHANGES = 5
"""Questions shown that lost most, and as many that gained most."""
MAX_LISTED_SETTINGS = 10
VERDICTS: tuple[Verdict, ...] = ("better", "worse", "other")
COUNTS = ("wins", "ties", "losses")
HEAD = ("", "questions", "before", "now", "difference", "95 % interval", "p", *COUNTS, "")


def to_text(comparison: Comparison) -> Iterator[str]:
    """Yields the comparison as lines for a terminal."""
    yield f"{comparison.candidate} beside {comparison.baseline}, {_set(comparison)}."
    yield from (f"  {line}" for line in _settings(comparison))
    yield ""
    yield from aligned(HEAD, [(row.measure, *_cells(row)) for row in comparison.rows])
    yield ""
    yield _verdict(comparison)
    if comparison.changes:
        yield ""
        head = (f"{comparison.leading} changed by", "better", "worse")
        yield from aligned(head, _stages(comparison))
    for name, changes in most_changed(comparison).items():
        yield ""
        yield f"{name}:"
        for change in changes:
            yield from _change(change)


def to_markdown(comparison: Comparison) -> Iterator[str]:
    """Yields the comparison as Markdown lines for a pull request."""
    yield f"### {code(comparison.candidate)} beside {code(comparison.baseline)}"
    yield ""
    yield f"**{_verdict(comparison, code)}** {_set(comparison, of=code(comparison.set_name))}."
    yield ""
    yield from markdown_table(HEAD, [(cell(row.measure), *_cells(row)) for row in comparison.rows])
    if comparison.settings:
        yield ""
    yield from (f"- {code(line)}" for line in _settings(comparison))
    if comparison.changes:
        yield ""
        head = (f"{cell(comparison.leading)} changed by", "better", "worse")
        yield from markdown_table(head, _stages(comparison))
    for name, changes in most_changed(comparison).items():
        yield ""
        yield f"<details><summary>{escape(name)}</summary>"
        yield ""
        columns = ("question", "gained", "why", "before", "now")
        yield from markdown_table(columns, [_change_cells(change) for change in changes])
        yield ""
        yield "</details>"


def most_changed(comparison: Comparison) -> dict[str, list[Change]]:
    """Returns the questions that lost most and those that gained most, by heading."""
    name = comparison.leading
    lost = [change for change in comparison.changes if change.gained < 0]
    gained = [change for change in comparison.changes if change.gained > 0]
    found = {f"Lost most {name}": lost, f"Gained most {name}": gained}
    return {heading: changes[:MAX_LISTED_CHANGES] for heading, changes in found.items() if changes}


def answered(change: Change) -> tuple[str, str]:
    """Returns both answers, with the reason in place of one that is missing."""
    before, now = (
        answer or f"(no answer: {reason or 'empty'})"
        for answer, reason in zip(change.answers, change.reasons, strict=True)
    )
    return before, now


def _set(comparison: Comparison, *, of: str = "") -> str:
    return f"{comparison.questions:,} questions of {of or comparison.set_name}"


def _settings(comparison: Comparison) -> Iterator[str]:
    listed = list(comparison.settings.items())
    for name, (before, now) in listed[:MAX_LISTED_SETTINGS]:
        yield clipped(f"{name}: {before or 'not set'} → {now or 'not set'}")
    if len(listed) > MAX_LISTED_SETTINGS:
        yield f"… and {len(listed) - MAX_LISTED_SETTINGS} more settings"


def _cells(row: Row) -> tuple[str, ...]:
    name = row.measure
    return (
        f"{row.questions:,}",
        number(row.baseline, name),
        number(row.candidate, name),
        number(row.difference, name, sign="+") if row.p is not None else "=",
        interval(row.interval, name, sign="+") if row.p is not None else "",
        p_value(row.p),
        f"{row.wins:,}",
        f"{row.ties:,}",
        f"{row.losses:,}",
        row.verdict,
    )


def _verdict(comparison: Comparison, format_measure: Callable[[str], str] = str) -> str:
    sentences = [
        f"{verdict.capitalize()}: {', '.join(map(format_measure, comparison.judged(verdict)))}."
        for verdict in VERDICTS
        if comparison.judged(verdict)
    ]
    return " ".join(sentences) or "No difference that could not be chance."


def _stages(comparison: Comparison) -> list[tuple[str, ...]]:
    """Returns the numbers of questions that each stage made better, and worse."""
    lost, gained = comparison.stages(gained=False), comparison.stages(gained=True)
    return [
        (stage, f"{gained.get(stage, 0):,}", f"{lost.get(stage, 0):,}")
        for stage in STAGES
        if stage in lost or stage in gained
    ]


def _change(change: Change) -> Iterator[str]:
    before, now = answered(change)
    yield f"  {change.gained:+.3f}  {clipped(change.question)}  ({clipped(change.id)})"
    yield f"          {change.cause.stage}: {clipped(change.cause.says)}"
    yield f"          before: {clipped(before)}"
    yield f"          now:    {clipped(now)}"


def _change_cells(change: Change) -> tuple[str, ...]:
    gained = f"{change.gained:+.3f}"
    says = f"{change.cause.stage}: {clipped(change.cause.says)}"
    return (cell(change.question), gained, cell(says), *map(cell, answered(change)))
