"""Writes tables as text, one line a row, and finds the header."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import StringIO
from itertools import chain, dropwhile, islice, pairwise
from typing import NamedTuple

from ingest.readers.outline import lines_of
from rag.types import Table

BETWEEN = " | "
"""Stands between the cells of a row."""
_BETWEEN_LABELS = " / "
_MOST_HEADER_ROWS = 16
_MOST_BELOW = 3
"""Further header rows that labels reach into."""
_MOST_REPEATED_CELLS, _MOST_REPEATED_CHARS = 1 << 19, 1 << 22
"""Repetitions of merged cells in one table: a few bytes can ask for a billion."""

Row = Sequence[str]


class Cell(NamedTuple):
    """A cell, and the columns and rows that it spans."""

    text: str
    columns: int = 1
    rows: int = 1


@dataclass(slots=True)
class Grid:
    """The rows of a table whose merged cells are expanded.

    `left_out` counts the rows at the end that are missing because merged cells asked for too many
    repetitions.
    """

    rows: list[list[str]] = field(default_factory=list)
    left_out: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """Returns a sentence on what is missing, if anything is."""
        if not self.left_out:
            return ()
        return (f"Left out: {self.left_out} rows of a table: its merged cells are too large.",)


def written(
    rows: Iterable[Row], *, between: str = BETWEEN, header_rows: int | None = None
) -> tuple[str, Table | None]:
    r"""Returns the rows as lines, without empty rows, and their table if it has a header.

    The labels of several header rows are joined, column by column. A header row of one cell above
    the others is a caption, and stays a line above the header. A "|" in a cell becomes "\|".

    Args:
        rows: The cells of each row; empty ones at the end may be left out.
        between: Stands between the cells.
        header_rows: The number of rows at the top that are the header. None if that is not known:
            the header is then the first row most of whose cells are filled, if rows follow it, and
            rows above it are a caption.
    """
    text = StringIO()
    filled = array("L")
    cells: Iterator[list[str]] = (_cells(row, escaped="|" in between) for row in rows)
    header: int | None = None
    if header_rows is not None:
        top = [row for row in islice(cells, min(header_rows, _MOST_HEADER_ROWS)) if any(row)]
        captions = list(_captions(top))
        joined = _joined(top[len(captions) :])
        header = len(captions) if any(joined) else -1
        cells = chain(captions, [joined], cells)
    for row in cells:
        count = sum(map(bool, row))
        if count:
            text.write("\n" if filled else "")
            text.write(between.join(_trimmed(row)))
            filled.append(count)
    whole = text.getvalue()
    used = max(filled, default=0)
    if header is None:
        header = next((n for n, count in enumerate(filled) if 2 * count > used), -1)
    if header < 0 or used < 2 or header >= len(filled) - 1:  # noqa: PLR2004 - one cell heads nothing
        return whole, None
    start, line = next(islice(lines_of(whole), header, None))
    return whole, Table(start=start, end=len(whole), header=line)


def spread(rows: Iterable[Sequence[Cell]]) -> Grid:
    """Expands merged cells: each of their places has their text. Cells come as in HTML.

    Columns in which no cell begins are dropped: a cell may claim to span more than there are. A
    cell that spans all columns is written once.
    """
    lines: list[_Line] = []
    carried: list[_Placed] = []
    room = _MOST_REPEATED_CELLS
    left_out = width = 0
    for row in rows:
        room -= len(carried)
        if room < 0:
            left_out += 1
        elif carried or any(cell.columns > 1 or cell.rows > 1 for cell in row):
            line = tuple(_place(row, carried))
            width = max(width, 1 + max((cell.column for cell in line), default=-1))
            lines.append(line)
            carried = [_Placed(*cell[:3], cell.rows - 1) for cell in line if cell.rows > 1]
        else:
            width = max(width, len(row))
            lines.append([cell.text for cell in row])
    return _expanded(lines, width, left_out)


def header_reach(rows: Sequence[Sequence[Cell]], count: int) -> int:
    """Returns the number of header rows, of which `count` are known.

    If a label spans several columns, the labels of these columns are below it: the header goes on
    for as many rows as the labels beside it span.
    """
    reach = count
    for number, row in enumerate(rows[:count]):
        if any(cell.columns > 1 for cell in row):
            reach = max(reach, *(number + cell.rows for cell in row))
    return reach if reach <= count + _MOST_BELOW else count


class _Placed(NamedTuple):
    """A cell in its column; `rows` counts this row and those below it."""

    column: int
    end: int
    text: str
    rows: int


_Line = tuple[_Placed, ...] | list[str]
"""The cells of a row in their columns, or its texts if no cell spans or is spanned over."""


def _place(row: Iterable[Cell], carried: Sequence[_Placed]) -> list[_Placed]:
    """Puts a row's cells where the cells of the rows above leave room, in column order."""
    line: list[_Placed] = []
    above = iter(carried)
    coming = next(above, None)
    column = 0
    for cell in row:
        while coming and coming.column <= column:
            line.append(coming)
            column, coming = coming.end, next(above, None)
        end = column + max(1, cell.columns)
        end = min(end, coming.column) if coming else end
        line.append(_Placed(column, end, cell.text, max(1, cell.rows)))
        column = end
    if coming:
        line += [coming, *above]
    return line


def _expanded(lines: Sequence[_Line], width: int, left_out: int) -> Grid:
    """Repeats the text of merged cells, as long as there is room."""
    grid = Grid(left_out=left_out)
    room, chars = _MOST_REPEATED_CELLS, _MOST_REPEATED_CHARS
    for number, line in enumerate(lines):
        if isinstance(line, list):
            grid.rows.append(line)
            continue
        repeats = [(max(0, min(c.end, width) - c.column - 1), len(c.text)) for c in line]
        room -= sum(times for times, _ in repeats)
        chars -= sum(times * length for times, length in repeats)
        if min(room, chars) < 0:
            grid.left_out += len(lines) - number
            break
        grid.rows.append(_repeated(line, width))
    return grid


def _repeated(line: Sequence[_Placed], width: int) -> list[str]:
    if len(line) == 1 and not line[0].column and line[0].end >= width:
        return [line[0].text]
    row: list[str] = []
    for cell in line:
        row += [""] * (cell.column - len(row))
        row += [cell.text] * (min(cell.end, width) - cell.column)
    return row


def _cells(row: Row, *, escaped: bool) -> list[str]:
    cells = [" ".join(cell.split()) for cell in row]
    return [cell.replace("|", "\\|") for cell in cells] if escaped else cells


def _captions(top: Sequence[list[str]]) -> Iterator[list[str]]:
    """Yields the header rows of one cell that stand above one of several."""
    for row, below in pairwise(top):
        if len(_trimmed(row)) > 1 or len(_trimmed(below)) == 0:
            return
        yield row


def _joined(top: Sequence[Row]) -> list[str]:
    """Returns one header row: the different labels of each column, from top to bottom."""
    columns = range(max(map(len, top), default=0))
    labels = ([row[n] for row in top if n < len(row)] for n in columns)
    return [_BETWEEN_LABELS.join(filter(None, dict.fromkeys(column))) for column in labels]


def _trimmed(row: Row) -> Row:
    """Returns the cells without empty ones at the end."""
    if row and row[-1]:
        return row
    return list(dropwhile(lambda cell: not cell, reversed(row)))[::-1]
