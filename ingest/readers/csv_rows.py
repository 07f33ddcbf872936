"""Converts rows of cells to lines of text, and finds the header."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterable, Sequence
from io import StringIO
from itertools import dropwhile, islice

from ingest.readers.outline import Outline, lines_of
from rag.errors import ReadError
from rag.types import Table

_SAMPLE = 1 << 14
_DELIMITERS = ",;\t|"
_MOST_CHARS_A_CELL = 1 << 20
_MOST_CHARS_A_ROW = 1 << 22


def written(rows: Iterable[Sequence[str]], *, between: str = " | ") -> tuple[str, Table | None]:
    """Returns the rows as lines, without empty rows, and their table if it has a header.

    The header is the first row most of whose cells are filled, if rows follow it: rows above it are
    a caption.
    """
    text = StringIO()
    filled = array("L")
    for row in rows:
        cells = [" ".join(cell.split()) for cell in row]
        count = sum(map(bool, cells))
        if count:
            text.write("\n" if filled else "")
            text.write(between.join(_trimmed(cells)))
            filled.append(count)
    whole = text.getvalue()
    used = max(filled, default=0)
    header = next((n for n, count in enumerate(filled) if 2 * count > used), None)
    if header is None or used < 2 or header == len(filled) - 1:  # noqa: PLR2004 - one cell heads nothing
        return whole, None
    start, line = next(islice(lines_of(whole), header, None))
    return whole, Table(start=start, end=len(whole), header=line)


def _trimmed(row: Sequence[str]) -> list[str]:
    """Returns the cells without empty ones at the end."""
    return list(dropwhile(lambda cell: not cell, reversed(row)))[::-1]


def outline(text: str, *, name: str) -> Outline:
    """Reads separated values: by commas, semicolons, tabs or pipes, whichever fits.

    If a line is longer than any row of a table, the file is read as plain text.

    Raises:
        ReadError: The values cannot be separated.
    """
    if any(len(line) > _MOST_CHARS_A_ROW for _, line in lines_of(text)):
        return Outline(text=text)
    try:
        dialect: type[csv.Dialect] = csv.Sniffer().sniff(text[:_SAMPLE], _DELIMITERS)
    except csv.Error:
        dialect = csv.excel
    csv.field_size_limit(_MOST_CHARS_A_CELL)
    try:
        whole, table = written(csv.reader((f"{line}\n" for _, line in lines_of(text)), dialect))
    except csv.Error as error:
        raise ReadError(f"{name}: not separated values: {error}.", code="damaged") from error
    return Outline(text=whole, tables=(table,) if table else ())
