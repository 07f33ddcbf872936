"""Reads pipe tables, as GitHub's Markdown defines them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ingest.readers.tables import written
from rag.types import Table

_DELIMITER = re.compile(
    r"\n(?=[^\n]*\|)[ \t]*\|?(?:[ \t]*:?-+:?[ \t]*(?:\||(?=\n|$)))+[ \t]*(?=\n|$)"
)
_BAR = re.compile(r"(?<!\\)\|")
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)


def header_line(paragraph: str) -> int | None:
    """Returns the number of the line in a paragraph that heads a table; None if none does.

    The line below it has dashes for each of its cells. The table goes on to the paragraph's end.
    """
    for found in _DELIMITER.finditer(paragraph):
        number = paragraph.count("\n", 0, found.start())
        start = paragraph.rfind("\n", 0, found.start()) + 1
        if len(_cells(paragraph[start : found.start()])) == len(_cells(found[0])):
            return number
    return None


def rows_written(lines: Sequence[str]) -> tuple[str, Table | None]:
    """Returns a table's lines as rows, without the line of dashes, and the table.

    Cells beyond the header's stay, which GitHub leaves out.
    """
    rows = (_cells(line) for n, line in enumerate(lines) if n != 1)
    return written(rows, header_rows=1)


def _cells(line: str) -> list[str]:
    line = line.strip().removeprefix("|")
    if "<" in line:
        line = _BREAK.sub(" ", line)
    if "\\" not in line:
        return line.removesuffix("|").split("|")
    cells = [cell.replace("\\|", "|") for cell in _BAR.split(line)]
    return cells if cells[-1].strip() else cells[:-1]
