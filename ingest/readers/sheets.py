"""Writes the sheets of a workbook: finds the tables in them, and leaves out what is hidden."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ingest.readers.header_rows import header_rows
from ingest.readers.options import ReadOptions
from ingest.readers.sheet_tables import Block, Shown, columns_of, tables_in
from ingest.readers.tables import Cell, spread
from ingest.readers.text_builder import TextBuilder

MOST_COLUMNS = 1 << 14
"""Columns of a sheet that are read."""
_MOST_MERGED_ROWS = 1 << 19
_LEVEL = 2


class Area(NamedTuple):
    """A merged region; rows and columns are counted from 1, the last ones belong to it."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass(slots=True)
class Sheet:
    """The cells of a sheet by row and column, counted from 1, without empty ones."""

    name: str
    hidden: bool = False
    rows: dict[int, dict[int, Shown]] = field(default_factory=dict)
    merged: list[Area] = field(default_factory=list)
    comments: list[tuple[int, int, str]] = field(default_factory=list)
    hidden_rows: set[int] = field(default_factory=set)
    hidden_columns: list[range] = field(default_factory=list)
    cut: bool = False
    """True if it has cells beyond `MOST_COLUMNS`."""
    uncalculated: int = 0
    """Formulas whose value is not in the file."""


class SheetWriter:
    """Writes sheets into a text, one page each."""

    def __init__(self, text: TextBuilder, options: ReadOptions) -> None:
        self._text = text
        self._hidden = options.hidden
        self._left_out: dict[str, int] = {}
        self._sheets: list[str] = []

    def skips(self, sheet: str) -> bool:
        """Tells whether a hidden sheet is left out, and counts it."""
        self._sheets.append(sheet)
        return not self._hidden

    def write(self, sheet: Sheet, *, page: int) -> None:
        """Appends a sheet: its name as a heading, its tables, its comments."""
        grid = self._visible(sheet)
        if not grid.cells and not grid.comments:
            return
        text = self._text
        if grid.room < 0:
            text.notes.append(f"Sheet {sheet.name[:40]!r} merges more cells than are read.")
        text.turn_to(page)
        text.heading(f"{sheet.name} (hidden)" if sheet.hidden else sheet.name, _LEVEL)
        if sheet.cut:
            text.notes.append(
                f"Left out: the columns after the first {MOST_COLUMNS:,} of sheet"
                f" {sheet.name[:40]!r}."
            )
        if sheet.uncalculated:
            text.notes.append(
                f"Left out: {_counted(sheet.uncalculated, 'formula')} of sheet {sheet.name[:40]!r}"
                " whose value is not stored in the file."
            )
        for block in tables_in(grid.cells, grid.covered):
            self._write(grid, block)
        for comment in grid.comments:
            text.paragraph(comment)

    def close(self) -> None:
        """Notes what was hidden."""
        counts = [_counted(count, noun) for noun, count in self._left_out.items() if count]
        if self._sheets:
            names = ", ".join(repr(name[:40]) for name in self._sheets[:5])
            counts.append(f"{_counted(len(self._sheets), 'hidden sheet')} ({names})")
        if counts:
            begin = "Read although hidden" if self._hidden else "Left out"
            listed = " and ".join(filter(None, (", ".join(counts[:-1]), counts[-1])))
            self._text.notes.append(f"{begin}: {listed}.")

    def _write(self, grid: _Grid, block: Block) -> None:
        if block.right - block.left == 1 and not grid.spans:
            lines = (cell.text for n in block.numbers for cell in grid.cells[n].values())
            self._text.paragraph("\n".join(" ".join(line.split()) for line in lines))
            return
        columns = columns_of(grid.cells, grid.covered, block)
        if not grid.spans:
            texts = (grid.texts(number, columns) for number in block.numbers)
            self._text.table(texts, header_rows=block.header_rows)
            return
        rows = [list(grid.row(number, columns)) for number in block.numbers]
        expanded = spread(rows)
        header = header_rows(rows) if block.header_rows is None else block.header_rows
        self._text.table(expanded.rows, header_rows=header)
        self._text.notes += expanded.notes

    def _visible(self, sheet: Sheet) -> _Grid:
        hidden_columns = {
            column
            for columns in sheet.hidden_columns
            for column in range(columns.start, min(columns.stop, MOST_COLUMNS + 1))
        }
        used = {column for row in sheet.rows.values() for column in row}
        for noun, count in (
            ("hidden row", len(sheet.hidden_rows & sheet.rows.keys())),
            ("hidden column", len(hidden_columns & used)),
        ):
            self._left_out[noun] = self._left_out.get(noun, 0) + count
        rows, columns = (set(), set()) if self._hidden else (sheet.hidden_rows, hidden_columns)
        return _Grid.of(sheet, hidden_rows=rows, hidden_columns=columns)


@dataclass(slots=True)
class _Grid:
    """The visible cells of a sheet, by numbers that leave hidden rows and columns out.

    A merged region has its text in its first cell, and `covered` holds its other cells.
    """

    cells: dict[int, dict[int, Shown]]
    spans: dict[tuple[int, int], tuple[int, int]]
    covered: dict[int, list[range]]
    comments: list[str]
    room: int = _MOST_MERGED_ROWS

    @classmethod
    def of(cls, sheet: Sheet, *, hidden_rows: set[int], hidden_columns: set[int]) -> _Grid:
        last_row = max(sheet.rows, default=0)
        last_column = max((max(row) for row in sheet.rows.values() if row), default=0)
        row_at = _renumbered(last_row, hidden_rows)
        column_at = _renumbered(last_column, hidden_columns)
        cells = {
            row_at[number]: {
                column_at[column]: shown
                for column, shown in sorted(row.items())
                if column not in hidden_columns
            }
            if hidden_columns
            else dict(sorted(row.items()))
            for number, row in sorted(sheet.rows.items())
            if number not in hidden_rows
        }
        grid = cls(cells=cells, spans={}, covered={}, comments=[])
        for area in sheet.merged:
            grid._merge(sheet, area, row_at, column_at)
        grid.cells = {number: row for number, row in sorted(grid.cells.items()) if row}
        for number, column, words in sheet.comments:
            if number not in hidden_rows and column not in hidden_columns:
                label = sheet.rows.get(number, {}).get(column, Shown("")).text
                where = f"{column_name(column)}{number}" + (f" ({label[:80]})" if label else "")
                grid.comments.append(f"Comment on {where}: {words}")
        return grid

    def texts(self, number: int, columns: Sequence[int]) -> list[str]:
        """Returns the texts of a row in some columns, if no cells are merged."""
        row = self.cells[number]
        return [row[column].text if column in row else "" for column in columns]

    def row(self, number: int, columns: Sequence[int]) -> Iterator[Cell]:
        """Yields the cells of a row in some columns, as `spread` takes them."""
        row = self.cells[number]
        covered = {n for span in self.covered.get(number, ()) for n in span}
        for column in columns:
            rows, wide = self.spans.get((number, column), (1, 1))
            if column in row:
                yield Cell(row[column].text, wide, rows)
            elif column not in covered:
                yield Cell("")

    def _merge(
        self, sheet: Sheet, area: Area, row_at: Sequence[int], column_at: Sequence[int]
    ) -> None:
        """Merges the visible cells of a region, as far as the sheet is filled."""
        shown = sheet.rows.get(area.top, {}).get(area.left)
        top, left = (
            row_at[min(area.top, len(row_at) - 1)],
            column_at[min(area.left, len(column_at) - 1)],
        )
        bottom = row_at[min(area.bottom + 1, len(row_at) - 1)]
        right = column_at[min(area.right + 1, len(column_at) - 1)]
        if not shown or bottom <= top or right <= left or bottom - top + right - left == 2:  # noqa: PLR2004
            return
        self.room -= bottom - top
        if self.room < 0:
            return
        for number in range(top, bottom):
            row = self.cells.setdefault(number, {})
            inside = [column for column in row if left <= column < right]
            for column in inside:
                del row[column]
            self.covered.setdefault(number, []).append(range(left, right))
        self.cells[top][left] = shown
        self.spans[top, left] = (bottom - top, right - left)


def _renumbered(last: int, hidden: set[int]) -> list[int]:
    """Returns the number of each row or column among the visible ones, up to one after the last."""
    numbers, visible = [0], 1
    for number in range(1, last + 2):
        numbers.append(visible)
        visible += number not in hidden
    return numbers


def column_name(column: int) -> str:
    """Returns a column's letters: 1 is A, 27 is AA."""
    letters = ""
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' if count > 1 else ''}"
