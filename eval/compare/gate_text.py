"""A gate's verdict in words: for a terminal, and as Markdown for a job's summary."""

from __future__ import annotations

from collections.abc import Iterator

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
from eval.compare.gate import Check, Verdict

HEAD = ("", "", "questions", "run", "limit", "baseline", "difference, 95 %", "p", "sees", "")
KINDS = {"floor": "at least", "ceiling": "at most", "regression": "worse by at most"}


def to_text(verdict: Verdict) -> Iterator[str]:
    """Yields the verdict as lines for a terminal: all checks, then the failures."""
    yield f"{verdict.run} beside {verdict.baseline}, {_set(verdict, clipped(verdict.set_name))}."
    yield ""
    yield from aligned(HEAD, [(clipped(_subject(c)), *_cells(c)) for c in verdict.checks])
    yield ""
    yield from (f"Line {check.line}: {_reason(check)}." for check in verdict.failures)
    yield _result(verdict)


def to_markdown(verdict: Verdict) -> Iterator[str]:
    """Yields the verdict as Markdown lines for a pull request or a job's summary."""
    mark = "❌" if verdict.failures else "✅"
    yield f"### {mark} {_result(verdict)}"
    yield ""
    of = _set(verdict, code(verdict.set_name))
    yield f"{code(verdict.run)} beside {code(verdict.baseline)}, {of}."
    yield ""
    yield from (f"- {code(_reason(check))}" for check in verdict.failures)
    if verdict.failures:
        yield ""
    yield from markdown_table(HEAD, [(cell(_subject(c)), *_cells(c)) for c in verdict.checks])


def _set(verdict: Verdict, name: str) -> str:
    return f"{verdict.questions:,} questions of {name}"


def _result(verdict: Verdict) -> str:
    checks = f"{len(verdict.checks)} checks" if len(verdict.checks) > 1 else "1 check"
    return (
        f"Failed: {len(verdict.failures)} of {checks}."
        if verdict.failures
        else f"Passed: {checks}."
    )


def _subject(check: Check) -> str:
    statistic = "" if check.statistic == "mean" else f" {check.statistic}"
    return f"{check.measure}{statistic}" + (f", {check.slice}" if check.slice else "")


def _reason(check: Check) -> str:
    return f"{clipped(_subject(check))} {check.says}"


def _cells(check: Check) -> tuple[str, ...]:
    name = check.measure
    paired = ("", "", "", "")
    if check.baseline is not None and check.interval is not None:
        difference = interval(check.interval, name, sign="+") if check.p is not None else "="
        sees = "too few" if check.sees is None else number(check.sees, name)
        paired = (number(check.baseline, name), difference, p_value(check.p), sees)
    return (
        KINDS[check.kind],
        f"{check.questions:,}",
        number(check.value, name),
        number(check.limit, name),
        *paired,
        "failed" if check.failed else "",
    )
