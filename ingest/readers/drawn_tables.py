"""Reads tables that are drawn with characters: reStructuredText's grid and simple tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ingest.readers.edits import Edit
from ingest.readers.outline import Line
from ingest.readers.tables import Cell, spread, written

GRID_BORDER = re.compile(r"\+(?:[-=:]+\+)+\s*")
SIMPLE_BORDER = re.compile(r"=+(?: +=+)+\s*")
_COLONS = re.compile(r"(?<=[+=-]):|:(?=[+=-])")
"""The place in which Pandoc notes the alignment of a column."""
_MOST_LINES, _MOST_CHARS = 20_000, 1 << 22
"""Larger tables stay as they are: to read one takes time beyond its length."""


def grids(lines: Sequence[Line], *, within: range) -> Iterator[tuple[int, int, Edit]]:
    """Yields the grid tables as (first line, line after the last, edit)."""
    number = within.start
    while number < within.stop:
        indent = _indent(lines[number][1])
        if not GRID_BORDER.fullmatch(lines[number][1], indent):
            number += 1
            continue
        after = number + 1
        while after < within.stop and lines[after][1][indent : indent + 1] in ("+", "|"):
            after += 1
        while after > number + 1 and not GRID_BORDER.fullmatch(lines[after - 1][1], indent):
            after -= 1
        edit = _edit(lines[number:after], indent, grid=True) if after > number + 2 else None
        if edit:
            yield number, after, edit
        number = after


def simple(lines: Sequence[Line]) -> Edit | None:
    """Returns a simple table, from its first border to its last, as rows; None if it is none."""
    return _edit(lines, _indent(lines[0][1]), grid=False)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _edit(lines: Sequence[Line], indent: int, *, grid: bool) -> Edit | None:
    from docutils.parsers.rst import tableparser
    from docutils.statemachine import StringList

    drawn = [line[indent:].rstrip() for _, line in lines]
    if len(drawn) > _MOST_LINES or sum(map(len, drawn)) > _MOST_CHARS:
        return None
    if grid:
        drawn = [_COLONS.sub("=" if "=" in s else "-", s) if s[:1] == "+" else s for s in drawn]
    parser = tableparser.GridTableParser() if grid else tableparser.SimpleTableParser()
    try:
        _, head, body = parser.parse(StringList(drawn, "table"))
    except tableparser.TableMarkupError:
        return None
    rows = [[_cell(cell) for cell in row if cell is not None] for row in (*head, *body)]
    text, table = written(spread(rows).rows, header_rows=len(head))
    if not text:
        return None
    start, end = lines[0][0], lines[-1][0] + len(lines[-1][1])
    return Edit(start, end, text, (table,) if table else ())


def _cell(cell: tuple[int, int, int, Sequence[str]]) -> Cell:
    """Converts docutils' cell: the further rows and columns, the line, the lines of text."""
    rows, columns, _, lines = cell
    return Cell(" ".join(lines), columns + 1, rows + 1)
