"""Cuts a text into sentences with their markers, while it is being written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from rag.text.sentences import sentence_spans

_MARKERS = re.compile(r"(?:[ \t]*\[[\d, ]{1,64}\])+")
_RULE = re.compile(r"\s*\|?[\s:|-]*-[\s:|-]*")
"""The line below the header of a table."""
LONGEST = 2_000
"""Characters at which a sentence that does not end is cut."""
_WHOLE_WORD = re.compile(r"\s*[^\s\[]\S*\s")


class Segments:
    """The segments of a text: each is a sentence, the white space before it, the markers behind it.

    Joined, they are the text. The header of a table and the line below it are one segment.
    """

    def __init__(self) -> None:
        self._rest = ""

    def add(self, text: str) -> list[str]:
        """Returns the segments that are complete with the next piece of the text.

        One is complete with the first whole word behind it, or at `LONGEST`.
        """
        found: list[str] = []
        for start in range(0, len(text), LONGEST):
            found += self._add(text[start : start + LONGEST])
        return found

    def _add(self, text: str) -> list[str]:
        self._rest += text
        if len(self._rest) > LONGEST and not self._ends()[:-1]:
            space = self._rest.rfind(" ", 1, LONGEST)  # no number is cut
            return self._cut([space if space > 0 else LONGEST])
        return self._cut([end for end in self._ends() if _WHOLE_WORD.match(self._rest, end)])

    def finish(self) -> list[str]:
        """Returns the last segments, at the end of the text."""
        return self._cut([*self._ends()[:-1], len(self._rest)]) if self._rest else []

    @property
    def settled(self) -> int:
        """Characters of the unfinished text before which no segment can end any more.

        That is all of it, or the end of its first sentence.
        """
        ends = self._ends()
        return ends[0] if ends else len(self._rest)

    @property
    def unfinished(self) -> str:
        """The text behind the last complete segment."""
        return self._rest

    def _ends(self) -> list[int]:
        """Returns the ends of sentences, behind their markers.

        A marker behind a full stop would hide the sentence that begins behind it: sentences are
        those of the text without markers.
        """
        if self._rest.isspace():
            return []
        plain = _MARKERS.sub("", self._rest)
        spans = sentence_spans(plain)
        ends = [
            end
            for (_, end), following in zip_longest(spans, spans[1:])
            if following is None or not _RULE.fullmatch(plain[slice(*following)])
        ]
        return list(self._with_markers(ends))

    def _with_markers(self, ends: Sequence[int]) -> Iterator[int]:
        """Yields the places of the text for ascending places of the text without markers."""
        markers = list(_MARKERS.finditer(self._rest))[::-1]
        removed = 0
        for end in ends:
            while markers and markers[-1].start() - removed <= end:
                marker = markers.pop()
                removed += marker.end() - marker.start()
            yield end + removed

    def _cut(self, ends: list[int]) -> list[str]:
        starts = [0, *ends]
        segments = [self._rest[a:b] for a, b in zip(starts, ends, strict=False) if a < b]
        self._rest = self._rest[starts[-1] :]
        return segments
