"""Gathers the tables of RTF: cells end where their right edges are, and may be merged."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from ingest.readers.tables import Cell

_SAME_EDGE = 40
"""Twentieths of a point within which edges are one."""


class _Cell(NamedTuple):
    left: int
    right: int
    text: str
    goes_on: bool
    """True if it belongs to the cell above it."""


@dataclass(slots=True)
class _Definition:
    """A row's definition of a cell."""

    right: int
    beside: bool
    above: bool


@dataclass(slots=True)
class RtfTable:
    """A table as it grows."""

    _rows: list[list[_Cell]] = field(default_factory=list)
    _texts: list[str] = field(default_factory=list)
    _definitions: list[_Definition] = field(default_factory=list)
    _left: int = 0
    _beside: bool = False
    _above: bool = False
    _is_header: bool = False
    _headers: int = 0

    def define(self, word: str, number: int | None) -> None:
        """Follows a control word that defines a row."""
        match word:
            case "trowd":
                self._definitions, self._left, self._is_header = [], 0, False
                self._beside = self._above = False
            case "trleft":
                self._left = number or 0
            case "trhdr":
                self._is_header = True
            case "clmrg":
                self._beside = True
            case "clvmrg":
                self._above = True
            case "cellx":
                self._definitions.append(_Definition(number or 0, self._beside, self._above))
                self._beside = self._above = False
            case _:
                pass

    def end_cell(self, text: str) -> None:
        """Ends a cell."""
        self._texts.append(text)

    def end_row(self) -> None:
        """Ends a row; cells without a definition stand to its right."""
        texts, self._texts = self._texts, []
        row: list[_Cell] = []
        left = self._left
        for place, text in enumerate(texts):
            if place < len(self._definitions):
                defined = self._definitions[place]
            else:
                defined = _Definition(left + 1000, beside=False, above=False)
            right = max(left + 1, defined.right)
            if defined.beside and row:
                row[-1] = row[-1]._replace(right=right)
            else:
                row.append(_Cell(left, right, text, defined.above))
            left = right
        if row:
            self._headers += self._is_header and self._headers == len(self._rows)
            self._rows.append(row)

    def taken(self) -> tuple[list[list[Cell]], int]:
        """Returns the rows and the number of marked header rows, and begins another table."""
        rows, headers = self._rows, self._headers
        self._rows, self._headers = [], 0
        edges = sorted({edge for row in rows for cell in row for edge in (cell.left, cell.right)})
        columns, column = {edges[0]: 0} if edges else {}, 0
        for before, edge in pairwise(edges):
            column += edge - before > _SAME_EDGE
            columns[edge] = column
        grid: list[list[Cell]] = []
        above: dict[int, tuple[int, int]] = {}
        for number, row in enumerate(rows):
            line = [Cell("", columns[row[0].left])] if columns[row[0].left] else []
            places: dict[int, tuple[int, int]] = {}
            for cell in row:
                start = columns[cell.left]
                if cell.goes_on and start in above:
                    first, place = places[start] = above[start]
                    grid[first][place] = grid[first][place]._replace(rows=number - first + 1)
                    continue
                line.append(Cell(cell.text, max(1, columns[cell.right] - start)))
                places[start] = number, len(line) - 1
            grid.append(line)
            above = places
        return grid, headers if headers < len(rows) else 0
