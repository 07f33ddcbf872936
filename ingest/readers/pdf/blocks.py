"""Groups lines to headings, paragraphs, items of lists, and tables."""

# ruff: noqa: RUF001 - the marks that end sentences, in their own scripts
from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise, takewhile

from ingest.readers.pdf.grids import Grid, grids
from ingest.readers.pdf.lines import Line, line_of

_LARGER = 1.12
_SAME_SIZE = 0.08
_WIDE_STEP = 1.3
_USUAL_STEP = 1.2
"""Distance between lines in heights of the text, where a page has too few to tell."""
_INDENT = 0.8
_SHORT_LINE = 0.6
_NARROW = 10.0
"""Widths of a column, in heights of the text, below which each line ends where it was meant to."""
_LEADER = re.compile(r"[.…]{3,}\s*\w+$")
_LONGEST_HEADING, _MOST_HEADING_LINES = 120, 3
_LONGEST_NUMBERED = 70
_ENDS = (".", "!", "?", ":", ";", "…", "。", "！", "？")
_NO_HEADING_ENDS = (".", ",", ";", "\ufffe", "-")
_CLOSING = "\"'”’»)]"
BULLET = re.compile(r"[•‣▪◦●○■□➢✓·*\uf0b7\uf0a7–-]\s+(?=\S)")
_DOUBTFUL_BULLETS = ("·", "*", "–", "-")
_ENUMERATOR = re.compile(r"\(?(?:\d{1,3}|[a-zA-Z]|[ivx]{1,5})[.)]\s+\S")
_CHAPTER = (
    r"(?:Art(?:icle|ikel|ículo|icolo)?\.?|Section|Abschnitt|Kapitel|Chapter|Chapitre|Part|Teil"
    r"|Annexe?|Anhang|Anlage|Appendix)"
)
_NUMBERED = re.compile(
    rf"(?:\d{{1,2}}(?:\.\d{{1,2}}){{0,3}}\.?|§+ ?\d+\w?\.?|[IVX]{{1,5}}\.|[A-Z]\."
    rf"|{_CHAPTER} (?:\d+|[IVX]+|[A-Z])\b[.:]?)(?:\s+[^\W\d_a-z]|$)"
)
"""A line that begins with a number as headings have it: "5. Parking", "§ 3 Rent", "Article 7"."""


class Kind(Enum):
    """The kinds of blocks."""

    TEXT = "text"
    ITEM = "item"
    HEADING = "heading"
    TABLE = "table"


@dataclass(slots=True)
class Block:
    """Lines that belong together; `near` if it stands directly below the block above it."""

    kind: Kind
    lines: list[Line]
    right: float
    near: bool = False
    grid: Grid | None = None

    @property
    def size(self) -> float:
        """The height of its letters."""
        return max(self.lines, key=lambda line: len(line.text)).size


@dataclass(frozen=True, slots=True)
class Style:
    """How the body of a document is set: the height of its letters, whether they are bold."""

    size: float
    bold: bool


def blocks(lines: Sequence[Line], style: Style) -> Iterator[Block]:
    """Yields the blocks of a region, from top to bottom."""
    lines = [part for line in lines for part in _without_heading(line, style)]
    right = max(line.right for line in lines)
    step = _usual_step(lines)
    start = 0
    for first, end, grid in grids(lines):
        yield from _paragraphs(lines[start:first], style, right=right, step=step)
        yield Block(Kind.TABLE, list(lines[first:end]), right, grid=grid)
        start = end
    yield from _paragraphs(lines[start:], style, right=right, step=step)


def _without_heading(line: Line, style: Style) -> Iterator[Line]:
    """Yields a line, or apart from it the bold heading that it begins with: "5. Parking"."""
    bold = list(takewhile(lambda piece: piece.bold, line.pieces))
    if style.bold or not bold or line.bold or not _NUMBERED.match(bold[0].text):
        yield line
    else:
        yield line_of(bold, line.page)
        yield line_of(line.pieces[len(bold) :], line.page)


def is_wrapped(above: Line, below: Line, right: float) -> bool:
    """Checks that a line ended because the next word did not fit."""
    if right - above.left < _NARROW * above.size or _LEADER.search(above.text):
        return False
    word = below.text.split(maxsplit=1)[0]
    width = len(word) * (below.right - below.left) / max(1, len(below.text))
    return above.right + width + 0.2 * above.size > right


def ends_sentence(text: str) -> bool:
    """Checks that a text ends as a sentence, a lead-in or an item does."""
    return text.rstrip(_CLOSING).endswith(_ENDS)


def _usual_step(lines: Sequence[Line]) -> float:
    """Returns the distance between the lines of a paragraph, in heights of the text."""
    steps = sorted(
        (below.base - above.base) / below.size
        for above, below in pairwise(lines)
        if _alike(above, below) and below.base - above.base > 0.5 * below.size
    )
    return steps[len(steps) // 4] if len(steps) > 2 else _USUAL_STEP  # noqa: PLR2004


def _alike(above: Line, below: Line) -> bool:
    return abs(above.size - below.size) <= _SAME_SIZE * below.size


def _paragraphs(
    lines: Sequence[Line], style: Style, *, right: float, step: float
) -> Iterator[Block]:
    block: Block | None = None
    for number, line in enumerate(lines):
        following = lines[number + 1] if number + 1 < len(lines) else None
        heading = _is_numbered(line, following, right)
        cut = heading and block and ends_sentence(block.lines[-1].text)
        if block and not cut and not _begins(block, line, right=right, step=step):
            block.lines.append(line)
        else:
            if block:
                yield _headed(block, style)
            near = block is not None and not _is_far(block.lines[-1], line, step)
            kind = Kind.ITEM if _is_item(line.text) else Kind.TEXT
            block = Block(kind, [line], right, near=near)
        if heading and len(block.lines) == 1:
            block.kind = Kind.HEADING
    if block:
        yield _headed(block, style)


def _begins(block: Block, line: Line, *, right: float, step: float) -> bool:
    """Checks that a line begins a block of its own below `block`."""
    last = block.lines[-1]
    if block.kind is Kind.HEADING or not _alike(last, line) or _is_far(last, line, step):
        return True
    if last.bold != line.bold and not is_wrapped(last, line, right):
        return True
    if _is_item(line.text):
        bullet = BULLET.match(line.text) and not line.text.startswith(_DOUBTFUL_BULLETS)
        cut = ends_sentence(last.text) or not is_wrapped(last, line, right)
        return block.kind is Kind.ITEM or bool(bullet) or cut
    indented = line.left > last.left + _INDENT * line.size
    return block.kind is Kind.TEXT and indented and ends_sentence(last.text)


def _is_far(above: Line, below: Line, step: float) -> bool:
    distance = below.base - above.base
    return distance > _WIDE_STEP * step * below.size or distance < 0


def _is_item(text: str) -> bool:
    return bool(BULLET.match(text) or _ENUMERATOR.match(text))


def _is_numbered(line: Line, following: Line | None, right: float) -> bool:
    """Checks a heading by its number alone: its letters may be those of the body."""
    text = line.text
    return (
        following is not None
        and len(text) <= _LONGEST_NUMBERED
        and any(map(str.isalpha, text))
        and bool(_NUMBERED.match(text))
        and not text.endswith(_NO_HEADING_ENDS)
        and line.right - line.left < _SHORT_LINE * (right - line.left)
        and not is_wrapped(line, following, right)
        and not following.text[0].islower()
        and not _is_item(following.text)
        and len(following.text) > len(text)
    )


def _headed(block: Block, style: Style) -> Block:
    """Returns the block, as a heading if it looks like one."""
    text = " ".join(line.text for line in block.lines)
    larger = block.size > _LARGER * style.size
    bolder = not style.bold and all(line.bold for line in block.lines)
    if (
        block.kind is not Kind.HEADING
        and (larger or (bolder and block.size > (1 - _SAME_SIZE) * style.size))
        and len(block.lines) <= _MOST_HEADING_LINES
        and len(text) <= _LONGEST_HEADING
        and sum(map(str.isalpha, text)) > 1
        and not BULLET.match(text)
        and not text[0].islower()
        and not text.endswith(_NO_HEADING_ENDS)
    ):
        block.kind = Kind.HEADING
    return block
