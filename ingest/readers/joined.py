"""Puts outlines together, and takes parts of them."""

from __future__ import annotations

import re
from dataclasses import replace

from ingest.readers.outline import Outline
from rag.types import Heading, Table

_BETWEEN = "\n\n"
_PARAGRAPH = re.compile(r"\n\s*\n\s*")


class Joined:
    """A text that grows by outlines, each moved to its place with its structure."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._at = 0
        self._headings: list[Heading] = []
        self._tables: list[Table] = []
        self._furniture: list[tuple[int, int]] = []
        self._notes: list[str] = []

    def add(self, outline: Outline, *, heading: str = "", level: int = 1) -> None:
        """Adds an outline below a heading of this level, or without one in the section before."""
        if heading:
            self.open(heading, level=level)
        at = self._begin()
        headings = _with_pages(outline, heading) if heading else outline.headings
        self._headings += [replace(h, start=h.start + at, level=h.level + level) for h in headings]
        self._tables += [replace(t, start=t.start + at, end=t.end + at) for t in outline.tables]
        self._furniture += [(start + at, end + at) for start, end in outline.furniture]
        self._notes += [f"{heading}: {note}" if heading else note for note in outline.notes]
        self._write(outline.text)

    def open(self, heading: str, *, level: int, text: str | None = None) -> None:
        """Begins a section; its heading is written as `text`, or not at all if that is empty."""
        written = heading if text is None else text
        start = self._begin()
        self._headings.append(Heading(start=start, level=level, text=heading))
        if written:
            self._furniture.append((start, start + len(written)))
            self._write(written)

    def outline(self) -> Outline:
        """Returns all of it."""
        return Outline(
            text="".join(self._texts),
            headings=tuple(self._headings),
            tables=tuple(self._tables),
            furniture=tuple(self._furniture),
            notes=tuple(self._notes),
        )

    def _begin(self) -> int:
        if self._texts and self._texts[-1] is not _BETWEEN:
            self._write(_BETWEEN)
        return self._at

    def _write(self, text: str) -> None:
        if text:
            self._texts.append(text)
            self._at += len(text)


def part_of(outline: Outline, start: int, end: int) -> Outline:
    """Returns the characters from `start` to `end`, with the structure that lies within them."""

    def within(first: int, last: int) -> bool:
        return start <= first and last <= end

    return Outline(
        text=outline.text[start:end],
        headings=tuple(
            replace(h, start=h.start - start) for h in outline.headings if start <= h.start < end
        ),
        tables=tuple(
            replace(t, start=t.start - start, end=t.end - start)
            for t in outline.tables
            if within(t.start, t.end)
        ),
        furniture=tuple(
            (first - start, last - start)
            for first, last in outline.furniture
            if within(first, last)
        ),
    )


def _with_pages(outline: Outline, name: str) -> list[Heading]:
    """Returns the headings, and one for each page above those that are open there.

    A page begins with a paragraph: what goes on from the page before belongs to that one.
    """
    if len(outline.pages) < 2:  # noqa: PLR2004 - a single page is no place
        return list(outline.headings)
    starts = [_paragraph(outline, page) for page in range(len(outline.pages))]
    found: list[Heading] = []
    open_: list[Heading] = []
    coming = list(reversed(outline.headings))
    for number, start in enumerate(starts, start=1):
        until = starts[number] if number < len(starts) else len(outline.text)
        found.append(Heading(start=start, level=1, text=f"{name}, page {number}"))
        while coming and coming[-1].start < start:
            open_ = _opened(open_, coming.pop())
        found += [replace(h, start=start, level=h.level + 1) for h in open_]
        while coming and coming[-1].start < until:
            found.append(replace(coming[-1], level=coming[-1].level + 1))
            open_ = _opened(open_, coming.pop())
    return found


def _opened(open_: list[Heading], heading: Heading) -> list[Heading]:
    return [*(each for each in open_ if each.level < heading.level), heading]


def _paragraph(outline: Outline, page: int) -> int:
    start = outline.pages[page]
    end = outline.pages[page + 1] if page + 1 < len(outline.pages) else len(outline.text)
    if not page or not outline.text[max(0, start - 2) : start].strip():
        return start
    following = _PARAGRAPH.search(outline.text, start, end)
    return following.end() if following and following.end() < end else start
