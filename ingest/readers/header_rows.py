"""Bounds the cells of a table, and counts its header rows if the file does not mark them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ingest.readers.tables import Cell

_MOST = 8
_WIDEST = 1 << 14
_MOST_COLUMNS = 1000
_FIGURE, _YEAR = re.compile(r"[\W_]*\d[\W\d_]*"), re.compile(r"(?:19|20)\d\d")


def header_rows(rows: Sequence[Sequence[Cell]]) -> int | None:
    """Returns the number of rows at the top that are captions and header; None for one header row.

    A header goes on in the next row if a label above spans columns whose labels are there, while
    no column has one in both rows. A figure is no label, unless it is a year.
    """
    placed = list(_placed(rows[:_MOST]))
    captions = next((n for n, row in enumerate(placed) if len(row) > 1), 0)
    above: dict[int, int] = {}  # by column: how many columns its lowest label spans
    count = 0
    for row in placed[captions:]:
        spans = [above.get(column, 0) for column, _ in row]
        wider = (span > cell.columns for span, (_, cell) in zip(spans, row, strict=True))
        if count and (1 in spans or not any(wider) or any(_is_figure(cell) for _, cell in row)):
            break
        for column, cell in row:
            columns = range(column, column + min(cell.columns, _WIDEST))
            above.update(dict.fromkeys(columns, cell.columns))
        count += 1
    return captions + count if 1 < count < len(rows) - captions else None


def _is_figure(cell: Cell) -> bool:
    return bool(_FIGURE.fullmatch(cell.text) and not _YEAR.fullmatch(cell.text.strip()))


def fitted(rows: Sequence[Sequence[Cell]], *, columns: int) -> list[list[Cell]]:
    """Returns the rows with no cell wider than the table: than its widest row, or `columns`."""
    most = max([min(columns, _MOST_COLUMNS), *map(len, rows)])
    return [
        [
            cell
            if 1 <= cell.columns <= most
            else cell._replace(columns=max(1, min(cell.columns, most)))
            for cell in row
        ]
        for row in rows
    ]


def _placed(rows: Sequence[Sequence[Cell]]) -> Iterator[list[tuple[int, Cell]]]:
    """Yields the cells with a text that begin in each row, and their columns."""
    until: dict[int, int] = {}  # by column: the row at which a cell from above ends
    for number, row in enumerate(rows):
        column = 0
        labels: list[tuple[int, Cell]] = []
        for cell in row:
            while until.get(column, 0) > number:
                column += 1
            columns = range(column, column + min(cell.columns, _WIDEST))
            until.update(dict.fromkeys(columns, number + cell.rows))
            if cell.text.strip():
                labels.append((column, cell))
            column += len(columns)
        yield labels
