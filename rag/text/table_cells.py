r"""Reads the cells of tables that a passage has as lines, a row each.

Readers write the cells of a row with " | " between them; Markdown has pipes around a row too, and a
line of dashes below the header. A "|" within a cell is written "\|".
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from operator import itemgetter

from rag.text.blocks import code_spans
from rag.text.plain import plain
from rag.types import Cell, Chunk, Span

_BETWEEN = re.compile(r"(?<!\\)\|")
_IS_ROW = re.compile(r"[ \t]*\||.*\S[ \t]+\|(?:[ \t]|$)")
_RULE = re.compile(r"[\s|:+=-]*")
_FIGURE = re.compile(r"\W*\d[\d.,:/\s-]*\W*\w{0,3}")
_WHOLE_HEADER = 500
"""Characters of a header from which it may have been cut to a chunk's own columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Characters `start` to `end` of a chunk's text: a row below the header of its table.

    `header` is the span of the header; it begins before 0 if the chunk begins inside the table, and
    then counts from the end of the chunk's headings. `above` is the header.
    """

    start: int
    end: int
    header: Span
    above: str
    cells: tuple[Cell, ...]

    @property
    def written(self) -> str:
        """The row as "column: value; column: value"."""
        return written(self.cells)


def written(cells: tuple[Cell, ...]) -> str:
    """Returns cells as "column: value; column: value", without empty values."""
    named = (f"{cell.column}: {cell.value}" if cell.column else cell.value for cell in cells)
    return "; ".join(named)


def table_lines(chunk: Chunk) -> tuple[list[Row], list[Span]]:
    """Returns the rows of a chunk's tables, and the lines that are headers or rules, in text order.

    A table is a run of lines of cells below a header: its first line, or the last of the headings
    of a chunk that begins inside the table. Lines without a header are no rows.
    """
    rows: list[Row] = []
    others: list[Span] = []
    if "|" not in chunk.text:
        return rows, others
    text = plain(chunk.text)
    code = code_spans(text)
    for run in _runs(text):
        before = bisect_right(code, run[0][0], key=itemgetter(0)) - 1
        if before >= 0 and run[0][0] < code[before][1]:
            continue
        if (above := _header_above(chunk, run)) is not None:
            inside, header, span = True, above, (-1 - len(above), -1)
        elif _begins_with_header(chunk, run):
            inside, header, span = False, text[slice(*run[0])], run[0]
            others.append(span)
        else:
            continue
        columns = cells_of(header)
        for start, end in run[0 if inside else 1 :]:
            line = chunk.text[start:end]
            if _RULE.fullmatch(line):
                others.append((start, end))
                continue
            values = cells_of(line)
            # A chunk may begin within a row, and the header of a wide table lacks columns.
            known = len(values) <= len(columns) and len(header) < _WHOLE_HEADER
            known &= not (inside and start == 0) or len(values) == len(columns)
            known &= _has_pipes_around(line) == _has_pipes_around(header)
            if cells := _cells(columns if known else (), values):
                rows.append(Row(start=start, end=end, header=span, above=header, cells=cells))
    return rows, others


def _header_above(chunk: Chunk, run: list[Span]) -> str | None:
    """Returns the header in the headings of a chunk that begins with a run of rows."""
    above = chunk.headings[-1] if chunk.headings and not run[0][0] else ""
    return above if _is_row(above) else None


def _begins_with_header(chunk: Chunk, run: list[Span]) -> bool:
    """Returns True if the first line of a run is the header of the others.

    In Markdown a rule is below it. A chunk that is not a document's first may begin with any row: a
    number in the line then shows that it is none.
    """
    if len(run) == 1:
        return False
    first, second = (chunk.text[slice(*line)] for line in run[:2])
    if _RULE.fullmatch(second):
        return len(run) > 2  # noqa: PLR2004 - header, rule, and a row
    if _has_pipes_around(first):
        return False
    begun = run[0][0] > 0 or chunk.start == 0
    return begun or not any(_FIGURE.fullmatch(cell) for cell in cells_of(first))


def row_at(chunk: Chunk, start: int) -> Row:
    """Returns the row that begins at a place of a chunk's text; there must be one."""
    return next(row for row in table_lines(chunk)[0] if row.start == start)


def cells_of(line: str) -> tuple[str, ...]:
    r"""Returns the cells of a row, without the pipes around it; "\|" in a cell is "|".

    A pipe at the beginning alone stands behind an empty cell.
    """
    cells = [cell.strip().replace("\\|", "|") for cell in _BETWEEN.split(line.strip())]
    first = 1 if _has_pipes_around(line) else 0
    last = len(cells) - 1 if len(cells) > first + 1 and not cells[-1] else len(cells)
    return tuple(cells[first:last])


def _has_pipes_around(line: str) -> bool:
    return line.lstrip().startswith("|") and _BETWEEN.split(line.rstrip())[-1] == ""


def _cells(columns: tuple[str, ...], values: tuple[str, ...]) -> tuple[Cell, ...]:
    named = zip_longest(columns[: len(values)], values, fillvalue="")
    return tuple(Cell(column=column, value=value) for column, value in named if value)


def _is_row(line: str) -> bool:
    return _IS_ROW.match(line) is not None


def _runs(text: str) -> Iterator[list[Span]]:
    """Yields runs of adjacent lines of cells, without white space around them."""
    run: list[Span] = []
    start = 0
    for line in text.split("\n"):
        if _is_row(line):
            indent = len(line) - len(line.lstrip())
            run.append((start + indent, start + len(line.rstrip())))
        elif run:
            yield run
            run = []
        start += len(line) + 1
    if run:
        yield run
