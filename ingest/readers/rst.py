"""Reads section titles and tables of reStructuredText, and the header block at its top."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator

from ingest.readers import rst_tables
from ingest.readers.drawn_tables import SIMPLE_BORDER
from ingest.readers.edits import Edited
from ingest.readers.outline import Line, Outline, lines_of, parse_fields
from rag.types import Heading

_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1*\s*")
_NOT_A_TITLE = re.compile(r"\s|[-*+•]\s|\.\.(?:\s|$)|>>> |\|\s|:[^:]+:(?:\s|$)")
_MARKUP = re.compile(r"``(.+?)``|`([^`<]+?)(?: <[^`>]*>)?`_{0,2}|\*{1,2}([^*]+)\*{1,2}")
_ROLE = re.compile(r":[a-z:+-]{1,40}:(?=`)")
_SHORTEST_OVERLINE = 4  # docutils takes a shorter one for text


def outline(text: str) -> Outline:
    """Reads section titles, header fields and tables; the rest of the text stays as it is."""
    lines = list(lines_of(text))
    titles = list(_titles(lines))
    edited = Edited(text, rst_tables.edits(text, lines))
    styles: dict[tuple[str, bool], int] = {}
    headings = tuple(
        Heading(
            start=edited.at(lines[first][0]),
            level=styles.setdefault(style, len(styles) + 1),
            text=_plain(lines[first + style[1]][1]),
        )
        for first, _, style in titles
    )
    furniture = [(lines[first][0], _end(lines[last])) for first, last, _ in titles]
    meta, header = _header(lines, after=titles[0][1] + 1 if titles else 0)
    return Outline(
        text=edited.text,
        title=_title(meta),
        headings=headings,
        tables=edited.tables,
        furniture=tuple(map(edited.span, sorted([*furniture, *header]))),
        meta=meta,
    )


def _title(meta: dict[str, str]) -> str:
    title = meta.get("title", "")
    return f"PEP {meta['pep']} – {title}" if "pep" in meta and title else title


def _header(lines: list[Line], *, after: int) -> tuple[dict[str, str], list[tuple[int, int]]]:
    """Returns the fields at the very top or below the first title, and the span they stand in.

    One `Note: …` at the top may be prose; an RFC 2822 header has two fields or more.
    """
    for begin in (0, after):
        block = _paragraph(lines, begin)
        meta = parse_fields([line for _, line in block]) if block else None
        if meta and (block[0][1].startswith(":") or (begin == 0 and len(meta) > 1)):
            return meta, [(block[0][0], _end(block[-1]))]
    return {}, []


def _paragraph(lines: list[Line], begin: int) -> list[Line]:
    """Returns the first run of lines from `begin` on that are not blank."""
    while begin < len(lines) and not lines[begin][1].strip():
        begin += 1
    end = begin
    while end < len(lines) and lines[end][1].strip():
        end += 1
    return lines[begin:end]


def _titles(lines: list[Line]) -> Iterator[tuple[int, int, tuple[str, bool]]]:
    """Yields titles as (first line, last line, style); a style is (adornment, has overline)."""
    bottoms = _table_bottoms(lines)
    number = 0
    opens = True  # True if a block may begin here: after a blank or indented line, or a title
    while number < len(lines):
        line = lines[number][1]
        if opens and SIMPLE_BORDER.fullmatch(line):
            below = bisect_right(bottoms, number)
            number = 1 + (bottoms[below] if below < len(bottoms) else number)
            continue
        style = _title_at(lines, number) if opens and line.strip() else None
        if style:
            last = number + 1 + style[1]
            yield number, last, style
            number = last
        opens = style is not None or not line.strip() or line.startswith((" ", "\t", ".. "))
        number += 1


def _title_at(lines: list[Line], number: int) -> tuple[str, bool] | None:
    """Returns the style of the section title that begins at this line, if one does."""
    first, second, third = (
        lines[i][1].rstrip() if i < len(lines) else "" for i in range(number, number + 3)
    )
    if _ADORNMENT.fullmatch(first) and len(first) >= _SHORTEST_OVERLINE:
        titled = second.strip() and third == first and _width(second) <= len(first)
        return (first[0], True) if titled and not _ADORNMENT.fullmatch(second) else None
    if _NOT_A_TITLE.match(first) or not _ADORNMENT.fullmatch(second):
        return None
    return (second[0], False) if _width(first) <= len(second) else None


def _table_bottoms(lines: list[Line]) -> list[int]:
    """Returns the numbers of lines that may close a simple table: borders before a blank line."""
    return [
        number
        for number, (_, line) in enumerate(lines)
        if SIMPLE_BORDER.fullmatch(line)
        and (number + 1 == len(lines) or not lines[number + 1][1].strip())
    ]


def _width(text: str) -> int:
    """Returns the columns of the text in a fixed-width font, as docutils counts them."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))


def _plain(title: str) -> str:
    """Returns a title without inline mark-up and runs of white space."""
    plain = _MARKUP.sub(lambda found: next(filter(None, found.groups())), _ROLE.sub("", title))
    return " ".join(plain.split())


def _end(line: Line) -> int:
    return line[0] + len(line[1])
