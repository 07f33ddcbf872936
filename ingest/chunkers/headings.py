"""The context above a chunk: its path of headings, and the header of the table it is a part of.

Each chunk stores both, so both are bounded: long headings, or a table header of thousands of
columns, would otherwise be stored many times.
"""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter

from rag.types import Document, Table

PATH_CHARS = 512
"""Characters of the headings stored with a chunk: the innermost ones that fit."""
HEADER_CHARS = 512
"""Characters of a table's header stored with a chunk; of a longer one, the chunk's own columns."""
MOST_COLUMNS = 16_384
"""Columns of a table that are distinguished, as many as a spreadsheet has."""
_BETWEEN = " | "


class Above:
    """Finds the context above the spans of a document; spans must come in text order."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._sections = [heading.start for heading in document.headings]
        self._paths = _paths(document)
        self._table: Table | None = None
        self._columns: _Columns | None = None

    def of(self, start: int, end: int) -> tuple[str, ...]:
        """Returns the headings above a span, outermost first, then the header of its table."""
        return self._paths[bisect_right(self._sections, start)] + self._header(start, end)

    def _header(self, start: int, end: int) -> tuple[str, ...]:
        """Returns the table's header; nothing if the span begins in no table or in the header."""
        table = table_at(self._document, start)
        if table is None or start < table.start + max(1, len(table.header)):
            return ()
        if len(table.header) <= HEADER_CHARS:
            return (table.header,)
        if table is not self._table:
            self._table, self._columns = table, _Columns(self._document.text, table)
        assert self._columns is not None  # noqa: S101 - for mypy: made along with the table
        header = self._columns.header(start, end)
        return (header,) if header else ()


class _Columns:
    """The columns of a table with a long header."""

    def __init__(self, text: str, table: Table) -> None:
        names = table.header.split(_BETWEEN, MOST_COLUMNS)[:MOST_COLUMNS]
        self._names = [_cut(name, HEADER_CHARS) for name in names]
        self._text = text
        self._at = table.start
        """`_column` is known up to this offset."""
        self._column = 0

    def header(self, start: int, end: int) -> str:
        """Returns the names of the columns in which the span has values."""
        self._advance(start)
        # A span may begin with a separator, but without the space in front of it.
        begin = start - 1 if self._text.startswith(_BETWEEN, start - 1) else start
        first, *lines = self._text[begin:end].split("\n")
        columns = set(_filled(first, self._column))
        for line in lines:
            columns.update(_filled(line, 0))
        names = [self._names[n] for n in sorted(columns) if n < len(self._names)]
        return _cut(_BETWEEN.join(filter(None, names)), HEADER_CHARS)

    def _advance(self, start: int) -> None:
        """Counts the separators before `start`, each once: a row may be as long as the text."""
        line = self._text.rfind("\n", self._at, start)
        if line >= 0:
            self._at, self._column = line + 1, 0
        self._column += self._text.count(_BETWEEN, self._at, start)
        last = self._text.rfind(_BETWEEN, self._at, start)
        after = last + len(_BETWEEN) if last >= 0 else self._at
        self._at = max(after, start - len(_BETWEEN) + 1)


def table_at(document: Document, at: int) -> Table | None:
    """Returns the table with the character at an offset; None if there is none."""
    before = bisect_right(document.tables, at, key=attrgetter("start")) - 1
    table = document.tables[before] if before >= 0 else None
    return table if table and at < table.end else None


def _filled(line: str, first: int) -> list[int]:
    """Returns the numbers of the columns with a value; the line begins in column `first`."""
    # A span may end with a separator, but without the space behind it.
    cells = enumerate(line.split(_BETWEEN), first)
    return [n for n, cell in cells if cell.strip(_BETWEEN)]


def _paths(document: Document) -> list[tuple[str, ...]]:
    """Returns the path of headings of each section, without a top one that repeats the title.

    Section n is below the nth heading, 0 above the first.
    """
    paths: list[tuple[str, ...]] = [()]
    open_headings: list[tuple[int, str]] = []
    for heading in document.headings:
        while open_headings and open_headings[-1][0] >= heading.level:
            open_headings.pop()
        open_headings.append((heading.level, heading.text))
        path = tuple(text for _, text in open_headings)
        paths.append(_fitting(path[1:] if path[0] == document.title else path))
    return paths


def _fitting(path: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the innermost headings of a path that fit; the last is cut if it alone does not."""
    room = PATH_CHARS
    first = len(path)
    while first and len(path[first - 1]) <= room:
        first -= 1
        room -= len(path[first])
    return path[first:] or tuple(_cut(text, PATH_CHARS) for text in path[-1:])


def _cut(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[: chars - 1] + "…"
