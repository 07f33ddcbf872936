"""Divides a passage into what may answer a question: sentences, list items and rows of tables."""

# ruff: noqa: RUF001 - full stops in their own scripts
from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from rag.text.lists import leads_in, lists
from rag.text.plain import plain
from rag.text.sentences import sentence_spans
from rag.text.table_cells import Row, table_lines
from rag.types import Chunk, Span

_HEADING = re.compile(r"#{1,6} ")
_FULL_STOPS = (".", "!", "。", "।", "۔")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A list: the spans of its items, and of the sentence that leads in to it, if there is one."""

    lead: Span | None
    items: tuple[Span, ...]

    @property
    def start(self) -> int:
        """The start of its lead-in, or of its first item."""
        return self.lead[0] if self.lead else self.items[0][0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Characters `start` to `end` of a chunk's text.

    `context` has the spans that it is read with: the words that lead in to its list or table, and
    the header of its table. `answers` is False for what says nothing by itself: a heading, a
    header, a lead-in. `listing` and `row` are the list and the row that it is in.
    """

    start: int
    end: int
    answers: bool = True
    context: tuple[Span, ...] = ()
    listing: Listing | None = None
    row: Row | None = None

    @property
    def span(self) -> Span:
        """`start` and `end`."""
        return self.start, self.end


def units(chunk: Chunk) -> list[Unit]:
    """Returns the units of a chunk, in text order; a lead-in also begins the sentence after it."""
    text = plain(chunk.text)
    rows, others = table_lines(chunk)
    rows_by_start = {row.start: row for row in rows}
    headers = {start for start, _ in others}
    above = {chunk.title, *chunk.headings} - {text.strip()}
    found: list[Unit] = []
    lead: Span | None = None  # the sentence before, if it leads in
    opened: Span | None = None  # the sentence that leads in to the table
    for span, listing in _with_lists(text):
        start, end = span
        row = rows_by_start.get(start)
        if row is not None:
            context = (row.header,) if opened is None else (opened, row.header)
            unit = Unit(start=start, end=row.end, context=context, row=row)
        elif listing is not None:
            before = () if listing.lead is None else (listing.lead,)
            unit = Unit(start=start, end=end, context=before, listing=listing)
        elif start in headers or leads_in(text, span) or _is_heading(text[start:end], above):
            unit = Unit(start=start, end=end, answers=False)
        else:
            unit = Unit(start=start if lead is None else lead[0], end=end)
        found.append(unit)
        in_table = row is not None or start in headers
        opened = (opened or lead) if in_table else None
        lead = span if leads_in(text, span) else None
    if lead is not None:  # nothing follows that it could lead in to
        found[-1] = replace(found[-1], answers=True)
    return found


def _with_lists(text: str) -> Iterator[tuple[Span, Listing | None]]:
    """Yields the sentences of a text, each with the list that it is in."""
    waiting = lists(text)[::-1]
    listing: Listing | None = None
    before: Span | None = None
    for span in sentence_spans(text):
        if listing and span[0] >= listing.items[-1][1]:
            listing = None
        if waiting and span[0] >= waiting[-1][0][0]:
            lead = before if before and leads_in(text, before) else None
            listing = Listing(lead=lead, items=tuple(waiting.pop()))
        yield span, listing
        before = span


def _is_heading(line: str, above: set[str]) -> bool:
    """Checks a line for a heading; the first sentence of a text is often its title as well."""
    return _HEADING.match(line) is not None or (line in above and not line.endswith(_FULL_STOPS))
