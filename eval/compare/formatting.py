"""Formats numbers, tables and untrusted text for a terminal and for Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from eval.measures.statistics import Interval

CLIPPED = 160
"""Characters of a question or an answer that a table shows."""


def number(value: float, name: str, *, sign: str = "") -> str:
    """Formats a value of the measure `name`; `sign="+"` shows the sign of gains, too."""
    match name:
        case "failed" | "degraded" | "abstained":
            return f"{value:{sign}.1%}"
        case "seconds":
            return f"{value:{sign}.3f} s"
        case "input_tokens" | "output_tokens":
            return f"{value:{sign},.0f}"
        case "cost":
            return f"{value:{sign}.5f}"
        case _:
            return f"{value:{sign}.3f}"


def interval(found: Interval, name: str, *, sign: str = "") -> str:
    """Formats the two ends of an interval."""
    low = number(found.low, name, sign=sign).removesuffix(" s")
    return f"{low} … {number(found.high, name, sign=sign)}"


def p_value(p: float | None) -> str:
    """Formats a p-value; empty if there was no test."""
    return "" if p is None else f"{p:.4f}"


def clipped(text: str, characters: int = CLIPPED) -> str:
    """Returns untrusted text as one clipped line, without characters that control a terminal."""
    line = " ".join(text.split())
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    return printable if len(printable) <= characters else f"{printable[: characters - 1]}…"


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yields a table for a terminal: the first column aligned left, the others right."""
    cells = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for first, *others in cells:
        right = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        yield "  ".join((first.ljust(widths[0]), *right)).rstrip()


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yields a table in Markdown; untrusted text in a cell must have gone through `code`."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join(['---', *['--:'] * (len(head) - 1)])}|"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def code(text: str, characters: int = CLIPPED) -> str:
    """Returns a code span, in which nothing is markup, a mention or a link.

    Its fence is longer than any run of backticks in it (CommonMark 0.31, section 6.1). In a table,
    bars must be escaped in code, too (GitHub Flavored Markdown, section 4.10): see `cell`.
    """
    line = clipped(text, characters)
    if not line:
        return ""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}" if "`" in line else f"`{line}`"


def cell(text: str, characters: int = CLIPPED) -> str:
    """Returns a code span for a table."""
    return code(text, characters).replace("|", r"\|")
