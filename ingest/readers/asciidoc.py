"""AsciiDoc: section titles, header attributes and tables; comments are left out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ingest.readers import html_hidden
from ingest.readers.asciidoc_tables import Source, table_text
from ingest.readers.edits import Edit, Edited
from ingest.readers.outline import Line, Outline, lines_of, parse_fields
from rag.types import Heading, Span

_TITLE = re.compile(r"(={1,6}|#{1,6})[ \t]+(\S.*?)(?:[ \t]+\1)?[ \t]*")
_DELIMITER = re.compile(r"(?:-{4,}|\.{4,}|\+{4,}|/{4,}|`{3,}.*)[ \t]*")
_TABLE = re.compile(r"[|,:]={3,}[ \t]*")
_COMMENT = re.compile(r"//(?!/).*")
_ATTRIBUTE = re.compile(r":[\w-]+:(?:[ \t].*)?")


@dataclass(slots=True)
class _Found:
    """The parts of a text, in text order."""

    titles: list[tuple[Span, int, str]] = field(default_factory=list)
    tables: list[Source] = field(default_factory=list)
    comments: list[Span] = field(default_factory=list)


def outline(text: str, *, hidden: bool = False) -> Outline:
    """Reads titles, the attributes below the first, and tables; other text stays as it is.

    Comments are read if `hidden`; otherwise a note counts them.
    """
    lines = list(lines_of(text))
    found = _find(lines)
    comments = () if hidden else found.comments
    cuts = [Edit(start, end) for start, end in comments]
    edited = Edited(text, [*cuts, *_rows(found.tables)])
    meta, header_span = _attributes(lines, found)
    furniture = sorted([span for span, _, _ in found.titles] + header_span)
    return Outline(
        text=edited.text,
        headings=tuple(
            Heading(start=edited.at(span[0]), level=level, text=title)
            for span, level, title in found.titles
        ),
        tables=edited.tables,
        furniture=tuple(map(edited.span, furniture)),
        meta=meta,
        notes=tuple(html_hidden.note(0, len(comments))),
    )


def _rows(sources: Sequence[Source]) -> Iterator[Edit]:
    for source in sources:
        if (written := table_text(source)) is not None:
            text, table = written
            yield Edit(*source.span, text, (table,) if table else ())


def _find(lines: Sequence[Line]) -> _Found:
    found = _Found()
    unclosed: set[str] = set()
    number = 0
    while number < len(lines):
        start, line = lines[number]
        last = number
        if line[:1] in "-.+/`" and _DELIMITER.fullmatch(line):
            last = _closing(lines, number, unclosed) or number
            if line.startswith("/") and last > number:
                found.comments.append((start, _end(lines[last])))
        elif _COMMENT.fullmatch(line):
            found.comments.append((start, _end(lines[number])))
        elif _TABLE.fullmatch(line):
            last = _closing(lines, number, unclosed) or number
            if last > number:
                found.tables.append(_table(lines, number, last))
        elif title := _TITLE.fullmatch(line):
            found.titles.append(((start, _end(lines[number])), len(title[1]), title[2]))
        number = last + 1
    return found


def _table(lines: Sequence[Line], first: int, last: int) -> Source:
    """Returns the table between two borders, with the line of attributes above it."""
    above = lines[first - 1][1].strip() if first else ""
    attributes = above if above.startswith("[") and above.endswith("]") else ""
    begin = lines[first - 1][0] if attributes else lines[first][0]
    body = [line for _, line in lines[first + 1 : last]]
    return Source((begin, _end(lines[last])), lines[first][1][0], attributes, body)


def _closing(lines: Sequence[Line], number: int, unclosed: set[str]) -> int | None:
    """Returns the number of the line that closes the block; None, and notes it, if none does."""
    delimiter = lines[number][1].rstrip()
    delimiter = "```" if delimiter.startswith("```") else delimiter
    for below in range(number + 1, len(lines)) if delimiter not in unclosed else ():
        if lines[below][1].rstrip() == delimiter:
            return below
    unclosed.add(delimiter)
    return None


def _attributes(lines: Sequence[Line], found: _Found) -> tuple[dict[str, str], list[Span]]:
    """Returns the attributes at the top or below the first title, and their spans."""
    after = found.titles[0][0][1] if found.titles else -1
    fields, spans = [], []
    for start, line in _header(lines, after):
        if _ATTRIBUTE.fullmatch(line):
            fields.append(line)
            spans.append((start, start + len(line)))
    return parse_fields(fields) or {}, spans


def _header(lines: Sequence[Line], after: int) -> Iterator[Line]:
    """Yields the lines up to the first blank one below the title."""
    for line in lines:
        if not line[1].strip() and line[0] > after:
            return
        yield line


def _end(line: Line) -> int:
    return line[0] + len(line[1])
