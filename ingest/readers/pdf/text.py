"""Writes the blocks of a PDF as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ingest.readers.pdf.blocks import BULLET, Block, Kind
from ingest.readers.pdf.grids import Grid
from ingest.readers.pdf.joining import Joiner, Part
from ingest.readers.text_builder import TextBuilder

_LEVELS = 6


def write_parts(text: TextBuilder, parts: Sequence[Part]) -> None:
    """Appends a paragraph, and turns to the pages that it is on."""
    [(page, first), *others] = parts
    text.turn_to(page)
    text.paragraph(first)
    write_rest(text, others)


def write_rest(text: TextBuilder, parts: Sequence[Part]) -> None:
    """Appends what stands on later pages than a paragraph's beginning."""
    for page, words in parts:
        text.turn_to(page)
        text.rest(words)


class BlockWriter:
    """Writes blocks to a text; `body` are all that will come, as headings are ranked by size."""

    def __init__(self, text: TextBuilder, body: Sequence[Block]) -> None:
        self._text = text
        self._joiner = Joiner([line for block in body for line in block.lines])
        self._levels = _levels(body)

    def write(self, block: Block) -> None:
        """Appends a block, and turns to the pages that it is on."""
        [(page, first), *others] = self._joiner.parts(block)
        self._text.turn_to(page)
        match block.kind:
            case Kind.TABLE if block.grid:
                self._table(block.grid)
                return
            case Kind.HEADING:
                whole = " ".join([first, *(text for _, text in others)])
                self._text.heading(whole, self._levels[_look(block)])
                return
            case Kind.ITEM:
                bullet = BULLET.match(first)
                mark = "- " if bullet else ""
                item = first[bullet.end() :] if bullet else first
                if block.near:
                    self._text.item(item, mark=mark)
                else:
                    self._text.paragraph(mark + item)
            case _:
                self._text.paragraph(first)
        write_rest(self._text, others)

    def _table(self, grid: Grid) -> None:
        """Appends a table; without names of the columns its rows are lines."""
        if grid.named:
            self._text.table(grid.rows)
        else:
            self._text.paragraph("\n".join(" ".join(filter(None, row)) for row in grid.rows))


def _levels(body: Sequence[Block]) -> Mapping[tuple[float, bool], int]:
    """Returns the level of the headings of each style: the largest letters are level 1."""
    styles = {_look(block) for block in body if block.kind is Kind.HEADING}
    ranked = sorted(styles, reverse=True)
    return {look: min(rank, _LEVELS) for rank, look in enumerate(ranked, start=1)}


def _look(block: Block) -> tuple[float, bool]:
    return round(block.size * 2) / 2, all(line.bold for line in block.lines)
