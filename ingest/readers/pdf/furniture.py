"""Finds page furniture: running headers, footers, page numbers and stamps, by their repetition."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ingest.readers.pdf.lines import Line, Piece, lines_of_pieces
from ingest.readers.running import counts_pages, without_page

_MARGIN, _EDGE = 0.2, 0.09
"""Shares of a page's height: where headers and footers are looked for, and its very edge."""
_FEW_PAGES = 8
_LARGE = 1.2
_MOST_PAGES = 0.8
"""The share of the pages that repeats a line which may also be a heading, or a sentence."""
_MOST_ROUNDS = 3
_MOST_LINES, _CLOSE_LINES, _CLOSE_PAGES = 5, 2, 3
"""A header has a few lines before a wide space; or it stands close to the text, on more pages."""
_SENTENCE_ENDS = (".", "!", "?", ":", ",", ";")
_SEPARATE = 1.7
_CELLS, _ROW_STEP = 2, 3.0
_NUMBER = re.compile(r"\d{1,6}|\b[ivxl]+\b")
_MOST_NUMBERS = 4
_ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50}
_COUNT = re.compile(r"^\s*(?:(?:of|von|de|sur|di|van|av|af|z|из)\b|/|\|)\s*\d+\b", re.IGNORECASE)
"""The number of pages, behind the page's own number."""
_LEAST_LINE_NUMBERS = 8
_EDGES = " |·•–—-/,;:"
TOP, BOTTOM = "header", "footer"


@dataclass(slots=True)
class PageText:
    """A page's pieces by direction of reading, the main one first, between `top` and `bottom`."""

    number: int
    groups: list[list[Piece]]
    top: float
    bottom: float


@dataclass(slots=True)
class Furniture:
    """A line that pages repeat; `page` is the first that has it."""

    text: str
    page: int
    place: str


@dataclass(slots=True)
class _Candidate:
    """A line that may be furniture, and the line next to it towards the middle of the page.

    `keys` are equal for lines that differ in nothing but the page's number.
    """

    line: Line
    place: str
    keys: list[str]
    close: bool = False
    upright: bool = True
    inner: Line | None = None

    def count(self, page: int, *, outer: bool) -> None:
        """Finds the keys: "Article 1" is no page's number, unless it stands near the edge."""
        keys = _keys(self.line.text, page)
        self.keys = keys if outer or counts_pages(self.line.text) else keys[:1]

    def heads_rows(self, where: Mapping[str, set[int]], least: float) -> bool:
        """Checks for the header of a table: cells, with other cells next to them."""
        inner = self.inner
        if inner is None or min(len(self.line.pieces), len(inner.pieces)) < _CELLS:
            return False
        repeated = any(len(where.get(key, ())) >= least for key in _keys(inner.text, inner.page))
        return not repeated and abs(inner.base - self.line.base) <= _ROW_STEP * self.line.size


def take_out(pages: Sequence[PageText], *, body: float) -> list[Furniture]:
    """Removes the furniture from the pages, and returns each line of it once.

    What repeats in letters larger than `body` stays on its first page: it is a heading there.
    """
    for page in pages:
        if page.groups:
            page.groups[0] = _without_line_numbers(page.groups[0])
    found: list[Furniture] = []
    for _ in range(_MOST_ROUNDS):  # a header may have parts, with space between
        more = _round(pages, body=body, first=not found)
        found += more
        if not more:
            break
    return found


def _round(pages: Sequence[PageText], *, body: float, first: bool) -> list[Furniture]:
    candidates = [each for page in pages for each in _candidates(page)]
    where: dict[str, set[int]] = defaultdict(set)
    for each in candidates:
        for key in each.keys:
            where[key].add(each.line.page)
    seen: set[str] = set()
    found: list[Furniture] = []
    unwanted: set[int] = set()
    for each in candidates:
        large = each.upright and each.line.size > _LARGE * body
        key = max(each.keys, key=lambda key: len(where[key]))
        doubtful = large or each.close or not first or each.line.text.endswith(_SENTENCE_ENDS)
        least = _least(len(pages), doubtful=doubtful, close=each.close)
        if len(where[key]) < least or each.heads_rows(where, least):
            continue
        if key not in seen:
            seen.add(key)
            if large:
                continue
            words = _without_number(key)
            if words and not counts_pages(each.line.text):
                found.append(Furniture(words, each.line.page, each.place))
        unwanted |= {id(piece) for piece in each.line.pieces}
    for page in pages:
        page.groups = [[p for p in group if id(p) not in unwanted] for group in page.groups]
    return found


def _least(pages: int, *, doubtful: bool, close: bool) -> float:
    """Returns on how many pages a line must stand to be furniture."""
    least = _CLOSE_PAGES if close or pages >= _FEW_PAGES else 2
    return max(least, _MOST_PAGES * pages) if doubtful else least


def _candidates(page: PageText) -> Iterator[_Candidate]:
    """Yields the lines of a page's margins, and all that run in another direction."""
    height = page.bottom - page.top
    for number, group in enumerate(page.groups):
        lines = lines_of_pieces(group, page.number)
        if number:
            for line in lines:
                yield _Candidate(line, TOP, _keys(line.text, page.number), upright=False)
            continue
        for each in _outermost(lines, TOP):
            each.count(page.number, outer=each.line.base <= page.top + _EDGE * height)
            if each.line.base <= page.top + _MARGIN * height:
                yield each
        for each in _outermost(lines[::-1], BOTTOM):
            each.count(page.number, outer=each.line.base >= page.bottom - _EDGE * height)
            if each.line.base >= page.bottom - _MARGIN * height:
                yield each


def _outermost(lines: Sequence[Line], place: str) -> Iterator[_Candidate]:
    """Yields the lines before the first wide space from the page's edge; else the outermost."""
    steps = enumerate(pairwise(lines), start=1)
    apart = next(
        (number for number, (line, inner) in steps if not _are_near(line, inner)), len(lines)
    )
    close = apart > _MOST_LINES
    for number, line in enumerate(lines[: _CLOSE_LINES if close else apart], start=1):
        inner = lines[number] if number < len(lines) else None
        yield _Candidate(line, place, [], close=close, inner=inner)


def _are_near(line: Line, other: Line) -> bool:
    return abs(line.base - other.base) <= _SEPARATE * max(line.size, other.size)


def _keys(text: str, page: int) -> list[str]:
    """Returns the line, and the line with each of its numbers counted from the page's number."""
    keys = [text]
    for found in list(_NUMBER.finditer(text))[:_MOST_NUMBERS]:
        offset = _value(found[0]) - page
        keys.append(f"{text[: found.start()]}\0{offset}\0{text[found.end() :]}")
    return keys


def _value(number: str) -> int:
    if number[0].isdigit():
        return int(number)
    values = [_ROMAN[letter] for letter in number]
    pairs = zip(values, [*values[1:], 0], strict=True)
    return sum(-value if value < after else value for value, after in pairs)


def _without_number(key: str) -> str:
    """Returns a key's line without the page's number and the words about it: "Page 3 of 9"."""
    if "\0" not in key:
        return key if re.search(r"[^\W\d_]", key) else ""
    before, _, after = key.split("\0")
    words = [*without_page(f"{before}1").removesuffix("1").split(), *_COUNT.sub("", after).split()]
    return " ".join(words).strip(_EDGES)


def _without_line_numbers(pieces: list[Piece]) -> list[Piece]:
    """Removes numbers that count the lines of a page at its left."""
    edge = min((piece.left for piece in pieces if not piece.text.isdecimal()), default=0.0)
    numbers = [p for p in pieces if p.text.isdecimal() and p.right < edge]
    numbers.sort(key=lambda piece: piece.base)
    if len(numbers) < _LEAST_LINE_NUMBERS:
        return pieces
    values = [int(piece.text[:6]) for piece in numbers]
    steps = {below - above for above, below in pairwise(values)}
    if len(steps) != 1 or steps == {0}:
        return pieces
    counted = {id(piece) for piece in numbers}
    return [piece for piece in pieces if id(piece) not in counted]
