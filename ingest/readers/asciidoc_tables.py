"""The tables of AsciiDoc: between lines of `|===`, cells begin with a bar."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ingest.readers import tables
from ingest.readers.tables import Cell
from rag.types import Span, Table

_BAR = re.compile(
    r"(?:(?:^|(?<=\s))(?:(?P<copies>\d+)\*|(?P<columns>\d+)?(?:\.(?P<rows>\d+))?\+)?"
    r"[<^>]?(?:\.[<^>])?[adehlmsv]?)?(?<!\\)\|",
    re.MULTILINE,
)
_COLUMNS = re.compile(r"cols\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^,\]\s]+))")
_SEPARATOR = re.compile(r"separator\s*=\s*\"?([^\",\]])")
_HEADER, _NO_HEADER = re.compile(r"(?<!no)header"), re.compile(r"noheader")
_MOST_COLUMNS, _MOST_COPIES = 1000, 100
_MOST_SPANNED = 1 << 18


class Source(NamedTuple):
    """A table as it is written: the first character of its border says how cells are separated."""

    span: Span
    border: str
    attributes: str
    """The attributes in brackets above it; empty if there are none."""
    lines: Sequence[str]


def table_text(table: Source) -> tuple[str, Table | None] | None:
    """Returns the table as rows, and the table if it has a header; None if its spans are absurd."""
    above = [line for line in table.lines[:2] if line.strip()]
    implicit = len(table.lines) > 1 and len(above) == 1 and bool(table.lines[0].strip())
    header = 1 if implicit or _HEADER.search(table.attributes) else None
    header = 0 if _NO_HEADER.search(table.attributes) else header
    separator = _SEPARATOR.search(table.attributes)
    is_csv = table.border == "," or "format=csv" in table.attributes.replace('"', "")
    if is_csv or table.border == ":":
        delimiter = separator[1] if separator else "," if is_csv else ":"
        lines = (line for line in table.lines if line.strip())
        rows = list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))
        return tables.written(rows, header_rows=header)
    cells = list(_cells("\n".join(table.lines)))
    if sum(cell.columns + cell.rows for cell in cells) > _MOST_SPANNED + 2 * len(cells):
        return None
    first = next((line for line in table.lines if line.strip()), "")
    width = _declared(table.attributes) or sum(cell.columns for cell in _cells(first))
    grid = tables.spread(_rows(cells, max(1, width)))
    return tables.written(grid.rows, header_rows=header)


def _declared(attributes: str) -> int:
    """Returns the number of columns in `cols`; 0 without it."""
    found = _COLUMNS.search(attributes)
    if found is None:
        return 0
    count = 0
    for column in (found[1] or found[2] or found[3]).split(","):
        copies = re.match(r"\s*(\d{1,4})\*", column)
        count += int(copies[1]) if copies else 1
    return min(count, _MOST_COLUMNS)


def _cells(text: str) -> Iterator[Cell]:
    bars = list(_BAR.finditer(text))
    for number, bar in enumerate(bars):
        end = bars[number + 1].start() if number + 1 < len(bars) else len(text)
        content = text[bar.end() : end].strip().replace("\\|", "|")
        columns, rows = (int((bar[name] or "1")[:4]) for name in ("columns", "rows"))
        cell = Cell(content, min(columns, _MOST_COLUMNS) or 1, rows or 1)
        yield from [cell] * min(int((bar["copies"] or "1")[:4]), _MOST_COPIES)


def _rows(cells: Sequence[Cell], width: int) -> list[list[Cell]]:
    """Divides the cells into rows: a row is full when its columns are, also by cells from above."""
    rows: list[list[Cell]] = []
    above: dict[int, int] = {}  # for a row still to come, the columns that are taken
    taken = width
    for cell in cells:
        while taken >= width:
            rows.append([])
            taken = above.pop(len(rows) - 1, 0)
        rows[-1].append(cell)
        taken += cell.columns
        for below in range(len(rows), len(rows) + cell.rows - 1):
            above[below] = above.get(below, 0) + cell.columns
    return rows
