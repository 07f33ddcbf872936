"""Writes the text of a PDF with its structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ingest.readers.decoding import clean
from ingest.readers.outline import Outline
from ingest.readers.pdf.blocks import BULLET, Block, Kind
from ingest.readers.pdf.grids import Grid
from ingest.readers.pdf.joining import Joiner, Part
from ingest.readers.tables import written
from rag.types import Heading, Meta, Table

_LEVELS = 6


class Text:
    """The text so far, with the offsets of its pages, headings and tables."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self.length = 0
        self._pages: dict[int, int] = {}
        self._headings: list[Heading] = []
        self._tables: list[Table] = []

    def paragraph(self, parts: Sequence[Part], *, near: bool = False) -> int:
        """Appends a paragraph, or a line if `near`; returns its offset."""
        if self._parts:
            self._append("\n" if near else "\n\n")
        start = self.length
        for page, text in parts:
            self._pages.setdefault(page, self.length)
            self._append(clean(text))
        return start

    def heading(self, parts: Sequence[Part], level: int) -> None:
        """Appends a heading, on one line."""
        text = " ".join(clean(" ".join(text for _, text in parts)).split())
        start = self.paragraph([(parts[0][0], text)])
        self._headings.append(Heading(start=start, level=level, text=text))

    def table(self, page: int, grid: Grid) -> None:
        """Appends a table: its cells are told apart if each column has a name, else guessed."""
        lines, table = written(grid.rows, between=" | " if grid.named else " ")
        start = self.paragraph([(page, lines)])
        if table and grid.named:
            moved = replace(table, start=start + table.start, end=start + table.end)
            self._tables.append(moved)

    def outline(self, count: int, *, title: str, meta: Meta, notes: tuple[str, ...]) -> Outline:
        """Returns the text with its structure; `count` is the number of pages."""
        starts = []
        start = self.length
        for number in range(count, 0, -1):
            start = self._pages.get(number, start)  # one without text begins where the next does
            starts.append(start if number > 1 else 0)
        return Outline(
            text="".join(self._parts),
            title=title,
            pages=tuple(reversed(starts)),
            headings=tuple(self._headings),
            furniture=tuple((head.start, head.start + len(head.text)) for head in self._headings),
            tables=tuple(self._tables),
            meta=meta,
            notes=notes,
        )

    def _append(self, text: str) -> None:
        self._parts.append(text)
        self.length += len(text)


class BlockWriter:
    """Writes the blocks of a body to a text."""

    def __init__(self, text: Text, body: Sequence[Block]) -> None:
        self._text = text
        self._joiner = Joiner([line for block in body for line in block.lines])
        self._levels = _levels(body)
        self._above: Kind | None = None

    def write(self, block: Block) -> None:
        """Writes a block below the others."""
        if block.grid:
            self._text.table(block.lines[0].page, block.grid)
        else:
            parts = self._joiner.parts(block)
            if block.kind is Kind.HEADING:
                self._text.heading(parts, self._levels[_look(block)])
            else:
                [(page, first), *others] = parts
                near = block.near and block.kind is self._above is Kind.ITEM
                item = BULLET.sub("- ", first, count=1) if BULLET.match(first) else first
                self._text.paragraph([(page, item), *others], near=near)
        self._above = block.kind


def _levels(body: Sequence[Block]) -> Mapping[tuple[float, bool], int]:
    """Returns the level of the headings of each style: the largest letters are level 1."""
    styles = {_look(block) for block in body if block.kind is Kind.HEADING}
    ranked = sorted(styles, reverse=True)
    return {look: min(rank, _LEVELS) for rank, look in enumerate(ranked, start=1)}


def _look(block: Block) -> tuple[float, bool]:
    return round(block.size * 2) / 2, all(line.bold for line in block.lines)
