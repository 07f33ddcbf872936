"""Builds an outline piece by piece, in the order of the document."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ingest.readers.decoding import clean
from ingest.readers.outline import Outline
from ingest.readers.tables import BETWEEN, Row, written
from rag.types import Heading, Meta, Table

_MANY_COLUMNS = 1000


class TextBuilder:
    """The text of a document as it grows, with its headings, tables, pages and notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._parts: list[str] = []
        self._length = 0
        self._page = 0
        self._pages: dict[int, int] = {}
        self._headings: list[Heading] = []
        self._tables: list[Table] = []
        self._furniture: list[tuple[int, int]] = []
        self._leads_in = False
        """True if an item would be on the line below: after a paragraph or another item."""

    def turn_to(self, page: int) -> None:
        """Puts what follows on this page; pages are counted from 1."""
        self._page = max(page, self._page)

    @property
    def page(self) -> int:
        """Returns the page of what follows; 0 before the first."""
        return self._page

    @property
    def has_headings(self) -> bool:
        """Tells whether a heading was appended."""
        return bool(self._headings)

    def heading(self, text: str, level: int) -> None:
        """Appends a heading."""
        line = " ".join(clean(text).split())
        if line:
            start = self._write(line)
            self._headings.append(Heading(start=start, level=level, text=line))
            self._furniture.append((start, start + len(line)))

    def paragraph(self, text: str) -> None:
        """Appends a paragraph."""
        if line := _trimmed(text):
            self._write(line)
            self._leads_in = True

    def rest(self, text: str) -> None:
        """Appends the rest of a paragraph or item that goes on on another page.

        The page begins after the white space at the start of `text`.
        """
        line = clean(text).rstrip()
        words = line.lstrip()
        self._write(words, gap=line[: len(line) - len(words)])
        self._leads_in = True

    def item(self, text: str, *, mark: str = "- ") -> None:
        """Appends an item of a list, on the line below a paragraph or another item."""
        if line := _trimmed(text):
            self._write(f"{mark}{line}", gap="\n" if self._leads_in else "\n\n")
            self._leads_in = True

    def furniture(self, text: str) -> None:
        """Appends a line that is not body text."""
        if line := _trimmed(text):
            start = self._write(line)
            self._furniture.append((start, start + len(line)))

    def table(self, rows: Iterable[Row], *, header_rows: int | None = None) -> None:
        """Appends a table; see `written`."""
        text, table = written(rows, between=BETWEEN, header_rows=header_rows)
        start = self._write(clean(text))
        if table:
            columns = table.header.count(BETWEEN) + 1
            if columns > _MANY_COLUMNS:
                self.notes.append(
                    f"A table has {columns:,} columns: a passage names those that it has."
                )
            moved = replace(table, start=start + table.start, end=start + table.end)
            self._tables.append(moved)

    def outline(self, *, title: str = "", meta: Meta | None = None) -> Outline:
        """Returns what was appended."""
        return Outline(
            text="".join(self._parts),
            title=title,
            pages=self._page_starts(),
            headings=tuple(self._headings),
            furniture=tuple(self._furniture),
            tables=tuple(self._tables),
            meta=meta or {},
            notes=tuple(dict.fromkeys(self.notes)),
        )

    def _page_starts(self) -> tuple[int, ...]:
        """Returns where each page starts; one without text starts where the next does."""
        pages = [0] * max(self._pages, default=0)
        start = 0
        for number in range(len(pages), 1, -1):
            start = self._pages.get(number, start)
            pages[number - 1] = start
        return tuple(pages)

    def _write(self, text: str, *, gap: str = "\n\n") -> int:
        """Appends a text after a gap; returns its offset."""
        if not text:
            return self._length
        self._leads_in = False
        owed = gap if self._parts else ""
        start = self._length + len(owed)
        self._pages.setdefault(self._page, start)
        self._parts += owed, text
        self._length = start + len(text)
        return start


def _trimmed(text: str) -> str:
    return clean(text).strip()
