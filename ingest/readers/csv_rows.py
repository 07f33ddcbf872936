"""Reads separated values: CSV as RFC 4180 defines it, and the dialects beside it."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal, NamedTuple

from ingest.readers.outline import Outline, lines_of
from ingest.readers.tables import written
from rag.errors import ReadError

_DELIMITERS = ",;\t|"
_MOST_CHARS_A_CELL = 1 << 20
_MOST_CHARS_A_ROW = 1 << 22
_DECLARED = re.compile(r"sep=(.)\s*\n", re.IGNORECASE)
"""Excel's first line, which names the delimiter."""
_LEAST_SHARE = 0.8
"""Of the rows of a table that have its number of columns; others are captions and notes."""


@dataclass(frozen=True, slots=True)
class _Dialect:
    """How values are separated: after RFC 4180, but for these."""

    delimiter: str = ","
    spaced: bool = False
    """True if spaces follow the delimiters, also before quotes."""
    backslashed: bool = False
    """True if a backslash stands before a quote that belongs to a value."""
    quotes: Literal["strict", "lenient", "none"] = "strict"
    """How quotes are read: stray ones are an error, are left out, or no quote means anything."""

    def rows(self, text: str, start: int) -> Iterator[list[str]]:
        """Yields the rows that are not blank.

        Raises:
            csv.Error: The text is not quoted like this.
        """
        csv.field_size_limit(_MOST_CHARS_A_CELL)
        reader = csv.reader(
            (f"{line}\n" for _, line in lines_of(text, start)),
            delimiter=self.delimiter,
            skipinitialspace=self.spaced,
            doublequote=not self.backslashed,
            escapechar="\\" if self.backslashed else None,
            quoting=csv.QUOTE_NONE if self.quotes == "none" else csv.QUOTE_MINIMAL,
            strict=self.quotes == "strict",
        )
        return filter(any, reader)


class _Shape(NamedTuple):
    """The rows of a text in a dialect: whether most have the same number of cells."""

    is_table: bool
    share: float
    """Of the rows that have so many cells as most have."""


def outline(text: str, *, name: str) -> Outline:
    """Reads separated values: after RFC 4180 if all rows then have the same number of cells.

    Otherwise the delimiter and the quoting are those with which most rows of the whole text have.
    If that is no table either, its lines are prose.

    Raises:
        ReadError: The values cannot be separated.
    """
    if any(len(line) > _MOST_CHARS_A_ROW for _, line in lines_of(text)):
        return Outline(text=text)
    declared = _DECLARED.match(text)
    start = declared.end() if declared else 0
    first = declared[1] if declared else "\t" if PurePath(name).suffix.lower() == ".tsv" else ","
    dialect = _dialect(text, start, first)
    if dialect is None:
        return Outline(text=_prose(text))
    try:
        whole, table = written(dialect.rows(text, start))
    except csv.Error as error:
        raise ReadError(f"{name}: not separated values: {error}.", code="damaged") from error
    return Outline(text=whole, tables=(table,) if table else ())


def _dialect(text: str, start: int, first: str) -> _Dialect | None:
    """Returns the dialect of a table; None if the text is none."""
    best: tuple[float, _Dialect | None] = 0.0, None
    for dialect in _candidates(text, first):
        shape = _shape(text, start, dialect)
        if shape is None or not shape.is_table:
            continue
        if shape.share == 1:
            return dialect
        if shape.share > best[0]:
            best = shape.share, dialect
    return best[1]


def _candidates(text: str, first: str) -> Iterator[_Dialect]:
    """Yields RFC 4180 with the first delimiter, then what else the text may be."""
    spaced = re.compile(rf"{re.escape(first)} +\"").search(text)
    if not spaced:
        yield _Dialect(first)
    delimiters = [each for each in sorted(_DELIMITERS, key=first.__ne__) if each in text]
    for delimiter in delimiters:
        yield _Dialect(delimiter, spaced=True)
        if '\\"' in text:
            yield _Dialect(delimiter, spaced=True, backslashed=True)
    for delimiter in delimiters if '"' in text else ():
        yield _Dialect(delimiter, spaced=True, quotes="lenient")
        yield _Dialect(delimiter, spaced=True, quotes="none")


def _shape(text: str, start: int, dialect: _Dialect) -> _Shape | None:
    """Returns the shape of the text in a dialect; None if it is quoted otherwise."""
    widths: Counter[int] = Counter()
    try:
        for row in dialect.rows(text, start):
            widths[len(row)] += 1
    except csv.Error:
        return None
    [(columns, rows)] = widths.most_common(1) or [(0, 0)]
    share = rows / max(1, widths.total())
    if columns < 2 or rows < 2 or share < _LEAST_SHARE:  # noqa: PLR2004
        return _Shape(is_table=False, share=share)
    spaces = text.count(f"{dialect.delimiter} ", start)
    like_prose = 2 * spaces > text.count(dialect.delimiter, start)
    is_prose = like_prose and (share < 1 or _is_of_sentences(text, start))
    return _Shape(is_table=not is_prose, share=share)


def _is_of_sentences(text: str, start: int) -> bool:
    """True if most lines end as sentences do."""
    lines = [line.rstrip() for _, line in lines_of(text, start)]
    return 2 * sum(line.endswith((".", "!", "?")) for line in lines) > len(lines)


def _prose(text: str) -> str:
    """Returns the values of a single column as paragraphs; the text itself if it is not quoted."""
    if '"' not in text:
        return text
    try:
        rows = list(_Dialect().rows(text, 0))
    except csv.Error:
        return text
    if any(len(row) > 1 for row in rows):
        return text
    return "\n\n".join(row[0].strip() for row in rows)
