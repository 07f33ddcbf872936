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


def grids(lines: Sequence[Line]) -> Iterator[tuple[int, int, Grid]]:
    """Yields (first, end, grid) for each table among the lines."""
    cells = [_cells(line) for line in lines]
    start = 0
    while start < len(lines):
        end = start
        while (
            end < len(lines)
            and len(cells[end]) > 1
            and (end == start or _is_near(lines[end - 1], lines[end]))
        ):
            end += 1
        grid = _grid(cells[start:end])
        if grid:
            yield start, end, grid
        start = max(end, start + 1)


def _is_near(above: Line, below: Line) -> bool:
    return below.base - above.base <= _ROW_STEP * max(above.size, below.size)


def _cells(line: Line) -> list[_Cell]:
    cells: list[_Cell] = []
    for piece in line.pieces:
        if cells and piece.left - cells[-1].right < _CELL_GAP * piece.size:
            cells[-1].text += f" {piece.text}"
            cells[-1].right = max(cells[-1].right, piece.right)
        else:
            cells.append(_Cell(piece.text, piece.left, piece.right))
    return cells


def _grid(rows: Sequence[Sequence[_Cell]]) -> Grid | None:
    """Returns the rows as a grid, if each cell stands in a column of its own."""
    width = max(map(len, rows), default=0)
    if len(rows) < _LEAST_ROWS or width < _FEW_COLUMNS:
        return None
    columns = _columns(rows)
    if len(columns) != width:
        return None
    written = []
    for row in rows:
        texts = [""] * width
        for cell in row:
            place = next(n for n, (_, right) in enumerate(columns) if cell.left <= right)
            if texts[place]:
                return None
            texts[place] = cell.text
        written.append(texts)
    labels = [row[0] for row in written]
    if width == _FEW_COLUMNS and any(label.endswith(":") for label in labels):
        return None  # fields of a form
    named = all(text and not _NUMBER.fullmatch(text) for text in written[0])
    return Grid(written, named)


def _columns(rows: Sequence[Sequence[_Cell]]) -> list[tuple[float, float]]:
    """Returns where the columns begin and end: cells that overlap are in one."""
    columns: list[tuple[float, float]] = []
    for cell in sorted((cell for row in rows for cell in row), key=lambda cell: cell.left):
        if columns and cell.left <= columns[-1][1]:
            columns[-1] = (columns[-1][0], max(columns[-1][1], cell.right))
        else:
            columns.append((cell.left, cell.right))
    return columns
