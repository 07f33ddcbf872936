"""Rows of cells → lines of text, the header known."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from itertools import dropwhile

from ingest.outline import Outline
from rag.errors import ReadError
from rag.types import Table

_SAMPLE = 1 << 14
_DELIMITERS = ",;\t|"
_MOST_CHARS_A_CELL = 1 << 20


def lines(rows: Sequence[Sequence[str]], *, between: str = " | ") -> tuple[list[str], int | None]:
    """The rows as lines without their empty ones, and which line is the header, if any is.

    The header is the first row most of whose cells are filled, where rows follow it: what stands
    above it is a caption.
    """
    filled = [[" ".join(cell.split()) for cell in row] for row in rows]
    filled = [row for row in filled if any(row)]
    used = max((sum(map(bool, row)) for row in filled), default=0)
    header = next((n for n, row in enumerate(filled) if 2 * sum(map(bool, row)) > used), None)
    if header is None or used < 2 or header == len(filled) - 1:  # noqa: PLR2004 - one cell heads nothing
        header = None
    return [between.join(_trimmed(row)) for row in filled], header


def _trimmed(row: Sequence[str]) -> list[str]:
    """The cells without empty ones at the end."""
    return list(dropwhile(lambda cell: not cell, reversed(row)))[::-1]


def outline(text: str, *, name: str) -> Outline:
    """Reads separated values: by commas, semicolons, tabs or pipes, whichever fits.

    Raises:
        ReadError: they cannot be told apart.
    """
    try:
        dialect: type[csv.Dialect] = csv.Sniffer().sniff(text[:_SAMPLE], _DELIMITERS)
    except csv.Error:
        dialect = csv.excel
    csv.field_size_limit(_MOST_CHARS_A_CELL)
    try:
        written, header = lines(list(csv.reader(StringIO(text), dialect)))
    except csv.Error as error:
        raise ReadError(f"{name}: not separated values: {error}.", code="damaged") from error
    whole = "\n".join(written)
    if header is None:
        return Outline(text=whole)
    start = sum(len(line) + 1 for line in written[:header])
    return Outline(text=whole, tables=(Table(start=start, end=len(whole), header=written[header]),))
