"""Reads separated values (CSV, TSV)."""

from __future__ import annotations

import csv

from ingest.readers.outline import Outline, lines_of
from ingest.readers.tables import written
from rag.errors import ReadError

_SAMPLE = 1 << 14
_DELIMITERS = ",;\t|"
_MOST_CHARS_A_CELL = 1 << 20
_MOST_CHARS_A_ROW = 1 << 22


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
