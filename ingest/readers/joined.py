"""Puts outlines together, and takes parts of them."""

from __future__ import annotations

from dataclasses import replace

from ingest.readers.outline import Outline
from rag.types import Heading, Table

_BETWEEN = "\n\n"


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
        self._headings += [
            replace(h, start=h.start + at, level=h.level + level) for h in outline.headings
        ]
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
