"""Replaces parts of a text, and says where the other parts stand afterwards."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import replace
from itertools import accumulate
from operator import attrgetter
from typing import NamedTuple

from rag.types import Span, Table


class Edit(NamedTuple):
    """A part of a text, what replaces it, and the tables in the replacement."""

    start: int
    end: int
    text: str = ""
    tables: tuple[Table, ...] = ()


class Edited:
    """A text after its edits. Of edits that overlap, the first one counts."""

    def __init__(self, text: str, edits: Iterable[Edit]) -> None:
        self._edits: list[Edit] = []
        parts: list[str] = []
        at = 0
        for edit in sorted(edits, key=attrgetter("start")):
            if edit.start < at:
                continue
            self._edits.append(edit)
            parts += text[at : edit.start], edit.text
            at = edit.end
        self.text = "".join([*parts, text[at:]])
        self._starts = [edit.start for edit in self._edits]
        grown = accumulate(len(e.text) - (e.end - e.start) for e in self._edits)
        self._moved = [0, *grown]

    def at(self, offset: int) -> int:
        """Returns the new offset; within a replaced part, the one where the replacement begins."""
        count = bisect_right(self._starts, offset)
        if count and offset < self._edits[count - 1].end:
            return self._starts[count - 1] + self._moved[count - 1]
        return offset + self._moved[count]

    def span(self, span: Span) -> Span:
        """Returns the new span."""
        return self.at(span[0]), self.at(span[1])

    @property
    def tables(self) -> tuple[Table, ...]:
        """Returns the tables in the replacements, in text order."""
        return tuple(
            replace(table, start=start + table.start, end=start + table.end)
            for edit, moved in zip(self._edits, self._moved, strict=False)
            for start in (edit.start + moved,)
            for table in edit.tables
        )
