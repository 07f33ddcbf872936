"""Collects the rows of a table in a page, and finds its header."""

from __future__ import annotations

from collections.abc import Set

from selectolax.lexbor import LexborNode

from ingest.readers.header_rows import header_rows
from ingest.readers.tables import Cell, header_reach, spread, written
from rag.types import Table

_MOST_COLUMNS, _MOST_ROWS = 1000, 65_534  # as in the HTML standard


class Rows:
    """The rows of an open table."""

    def __init__(self, spans: Set[int]) -> None:
        """Make a table without rows; `spans` are the `mem_id`s of cells that may be merged."""
        self._spans = spans
        self._rows: list[list[Cell]] = []
        self._heads: list[bool] = []
        """For each row, whether it is in the table's head."""
        self._tags: list[set[str]] = []
        """For each row, the tags of its cells that are not empty."""

    def open(self, row: LexborNode) -> None:
        """Begins a row."""
        self._rows.append([])
        self._heads.append(row.parent is not None and row.parent.tag == "thead")
        self._tags.append(set())

    def add(self, cell: LexborNode, text: str) -> None:
        """Adds a cell to the row."""
        if not self._rows:
            return
        columns, rows = _size(cell) if cell.mem_id in self._spans else (1, 1)
        self._rows[-1].append(Cell(text, columns, rows))
        if text:
            self._tags[-1].add(cell.tag or "")

    def written(self) -> tuple[str, Table | None, tuple[str, ...]]:
        """Returns the table's text, the table if it has a header, and notes on what is missing."""
        grid = spread(self._rows)
        text, table = written(grid.rows, header_rows=self._header_rows())
        return text, table, grid.notes

    def _header_rows(self) -> int | None:
        """Returns the number of rows at the top that are the header; None if that is not known.

        They are the rows of the head, or else those of header cells alone, and the rows below that
        their cells reach into. A first row with a header cell and a value has no header above it.
        """
        heads = self._heads if any(self._heads[:1]) else [tags == {"th"} for tags in self._tags]
        count = next((n for n, is_head in enumerate(heads) if not is_head), len(heads))
        if count == len(heads):
            return None
        if not count:
            mixed = bool(self._tags) and self._tags[0] == {"th", "td"}
            return 0 if mixed else header_rows(self._rows)
        return header_reach(self._rows, count)


def _size(cell: LexborNode) -> tuple[int, int]:
    """Returns the columns and rows that a cell spans."""
    attributes = cell.attributes
    columns = _number(attributes.get("colspan"), at_most=_MOST_COLUMNS)
    rows = _number(attributes.get("rowspan"), at_most=_MOST_ROWS)
    return columns or 1, _MOST_ROWS if rows == 0 else rows or 1


def _number(value: str | None, *, at_most: int) -> int | None:
    """Returns the number that an attribute begins with, as browsers read it; None without one."""
    digits = (value or "").strip()[:9]
    return min(int(digits), at_most) if digits.isdecimal() else None
