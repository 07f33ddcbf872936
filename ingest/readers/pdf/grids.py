"""Finds tables among the lines of a page: rows of cells that stand in columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ingest.readers.pdf.lines import Line

_CELL_GAP = 1.0
"""The least space between cells, in heights of the text."""
_ROW_STEP = 4.0
_LEAST_ROWS = 3
_CLOSE = 1.35
"""The most space between the lines of one cell, in heights of the text."""
_ALIGNED = 2.0
"""Points."""
_FEW_COLUMNS = 2
_NUMBER = re.compile(r"[\s\d.,:%+*/()€$£-]+")


@dataclass(slots=True)
class Grid:
    """The cells of a table by row and column; `named` if its first row names every column."""

    rows: list[list[str]]
    named: bool


@dataclass(slots=True)
class _Cell:
    text: str
    left: float
    right: float


_Row = list[_Cell]


def has_cells(line: Line) -> bool:
    """Checks that a line is cut by wide spaces."""
    return len(line.pieces) > 1 and len(_cells(line)) > 1


def grids(lines: Sequence[Line]) -> Iterator[tuple[int, int, Grid]]:
    """Yields (first, end, grid) for each table among the lines."""
    rows = [_cells(line) for line in lines]
    start = 0
    while start < len(lines):
        end = _end(lines, rows, start)
        grid = _grid(lines[start:end], rows[start:end])
        if grid:
            yield start, end, grid
        start = max(end, start + 1)


def _end(lines: Sequence[Line], rows: Sequence[_Row], start: int) -> int:
    """Returns where the rows that begin at `start` end; a line of one cell may be among them."""
    end = start
    while end < len(lines) and (
        len(rows[end]) > 1
        or _is_wrapped(lines, rows, start, end)
        or _is_label(lines, rows, start, end)
    ):
        if end > start and lines[end].base - lines[end - 1].base > _ROW_STEP * lines[end].size:
            break
        end += 1
    return end


def _is_wrapped(lines: Sequence[Line], rows: Sequence[_Row], start: int, number: int) -> bool:
    """Checks that a line is the rest of a cell: close below it, and not in the first column."""
    if number <= start + 1 or not rows[number]:
        return False
    [cell] = rows[number]
    above = rows[number - 1]
    step = lines[number].base - lines[number - 1].base
    starts = [other.left for other in above[1:]] if len(above) > 1 else [above[0].left]
    return step <= _CLOSE * lines[number].size and any(
        abs(left - cell.left) <= _ALIGNED for left in starts
    )


def _is_label(lines: Sequence[Line], rows: Sequence[_Row], start: int, number: int) -> bool:
    """Checks for a label above some of the rows: a short cell in the first column."""
    if not start + 1 < number < len(lines) - 1 or len(rows[number + 1]) < _FEW_COLUMNS:
        return False
    [label], below = rows[number], rows[number + 1]
    near = lines[number + 1].base - lines[number].base <= _ROW_STEP * lines[number].size
    aligned = abs(label.left - rows[start][0].left) <= _ALIGNED
    return near and aligned and label.right < below[1].left


def _cells(line: Line) -> _Row:
    cells: list[_Cell] = []
    for piece in line.pieces:
        if cells and piece.left - cells[-1].right < _CELL_GAP * piece.size:
            cells[-1].text += f" {piece.text}"
            cells[-1].right = max(cells[-1].right, piece.right)
        else:
            cells.append(_Cell(piece.text, piece.left, piece.right))
    return cells


def _grid(lines: Sequence[Line], rows: Sequence[_Row]) -> Grid | None:
    """Returns the rows as a grid, if each cell stands in a column of its own."""
    width = max(map(len, rows), default=0)
    if sum(len(row) > 1 for row in rows) < _LEAST_ROWS:
        return None
    columns = _columns(rows)
    if len(columns) != width:
        return None
    written: list[list[str]] = []
    last = lines[0].base
    for line, row in zip(lines, rows, strict=True):
        texts = [""] * width
        for cell in row:
            place = next(n for n, (_, right) in enumerate(columns) if cell.left <= right)
            if texts[place]:
                return None
            texts[place] = cell.text
        if written and not texts[0] and line.base - last <= _CLOSE * line.size:
            above = written[-1]
            written[-1] = [" ".join(filter(None, pair)) for pair in zip(above, texts, strict=True)]
        else:
            written.append(texts)
        last = line.base
    if len(written) < _LEAST_ROWS or (width == _FEW_COLUMNS and _is_form(written)):
        return None
    named = all(text and not _NUMBER.fullmatch(text) for text in written[0])
    return Grid(written, named)


def _is_form(rows: Sequence[Sequence[str]]) -> bool:
    return any(row[0].endswith(":") for row in rows)


def _columns(rows: Sequence[_Row]) -> list[tuple[float, float]]:
    """Returns where the columns begin and end: cells that overlap are in one."""
    columns: list[tuple[float, float]] = []
    for cell in sorted((cell for row in rows for cell in row), key=lambda cell: cell.left):
        if columns and cell.left <= columns[-1][1]:
            columns[-1] = (columns[-1][0], max(columns[-1][1], cell.right))
        else:
            columns.append((cell.left, cell.right))
    return columns
