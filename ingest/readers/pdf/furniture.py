"""Finds page furniture: running headers, footers, page numbers and stamps, by their repetition."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ingest.readers.pdf.lines import Line, Piece, lines_of_pieces


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_MARGIN = 0.2
"""The share of a page's height, above and below, in which headers and footers are looked for."""
_FEW_PAGES = 8
_LARGE = 1.2
_MOST_PAGES = 0.8
"""The share of the pages that repeats a line which may also be a heading, or a sentence."""
_MOST_ROUNDS = 3
_MOST_LINES, _CLOSE_LINES, _CLOSE_PAGES = 5, 2, 3
"""A header has a few lines before a wide space; or it stands close to the text, on more pages."""
_SENTENCE_ENDS = (".", "!", "?", ":", ",", ";")
_SEPARATE = 1.7
_CELLS = 3
_NUMBER = re.compile(r"\d{1,6}|\b[ivxl]+\b")
_MOST_NUMBERS = 4
_ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50}
_PAGE_WORDS = _words(
    "page pages of seite von p pg s pagina página páginas de di sur sida av side strona z"
    " страница из oldal sayfa"
)
_LEAST_LINE_NUMBERS = 8
TOP, BOTTOM, ASIDE = "header", "footer", "stamp"


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
    line: Line
    place: str
    keys: list[str]
    close: bool = False


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
    candidates = [(page, each) for page in pages for each in _candidates(page)]
    where: dict[str, set[int]] = defaultdict(set)
    for page, each in candidates:
        for key in each.keys:
            where[key].add(page.number)
    seen: set[str] = set()
    found: list[Furniture] = []
    unwanted: set[int] = set()
    for page, each in candidates:
        key = max(each.keys, key=lambda key: len(where[key]))
        large = each.place != ASIDE and each.line.size > _LARGE * body
        doubtful = large or each.close or not first or each.line.text.endswith(_SENTENCE_ENDS)
        least = max(_least(len(pages), doubtful=doubtful), _CLOSE_PAGES if each.close else 0)
        if len(where[key]) < least:
            continue
        if key not in seen:
            seen.add(key)
            if large:
                continue
            if _says_something(each.line.text):
                found.append(Furniture(each.line.text, page.number, each.place))
        unwanted |= {id(piece) for piece in each.line.pieces}
    for page in pages:
        page.groups = [[p for p in group if id(p) not in unwanted] for group in page.groups]
    return found


def _least(pages: int, *, doubtful: bool) -> float:
    """Returns on how many pages a line must stand to be furniture."""
    least = 2 if pages < _FEW_PAGES else 3
    return max(least, _MOST_PAGES * pages) if doubtful else least


def _candidates(page: PageText) -> Iterator[_Candidate]:
    """Yields the lines of a page's margins, and all that run in another direction."""
    reach = _MARGIN * (page.bottom - page.top)
    for number, group in enumerate(page.groups):
        if number:
            for line in lines_of_pieces(group, page.number):
                yield _Candidate(line, ASIDE, _keys(line.text, page.number))
            continue
        above = [piece for piece in group if piece.base <= page.top + reach]
        below = [piece for piece in group if piece.base >= page.bottom - reach]
        yield from _outermost(lines_of_pieces(above, page.number), TOP)
        yield from _outermost(lines_of_pieces(below, page.number)[::-1], BOTTOM)


def _outermost(lines: Sequence[Line], place: str) -> Iterator[_Candidate]:
    """Yields the lines before the first wide space from the page's edge; else the outermost."""
    apart = next(
        (
            number
            for number, (line, other) in enumerate(pairwise(lines), start=1)
            if abs(line.base - other.base) > _SEPARATE * max(line.size, other.size)
        ),
        len(lines),
    )
    close = apart > _MOST_LINES
    for line in lines[: _CLOSE_LINES if close else apart]:
        if not _is_row(line, lines):
            yield _Candidate(line, place, _keys(line.text, line.page), close=close)


def _is_row(line: Line, lines: Sequence[Line]) -> bool:
    """Checks for a row of a table: several cells, close to another line of several cells."""
    return len(line.pieces) >= _CELLS and any(
        other is not line
        and len(other.pieces) >= _CELLS
        and abs(other.base - line.base) < _SEPARATE * line.size
        for other in lines
    )


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


def _says_something(text: str) -> bool:
    """Checks that a line is more than a page's number."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    return any(word not in _PAGE_WORDS and not _NUMBER.fullmatch(word) for word in words)


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
