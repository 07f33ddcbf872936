"""Joins the lines of a paragraph: words cut at a line's end, sentences that go on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

from ingest.readers.pdf.blocks import Block, is_wrapped
from ingest.readers.pdf.grids import has_cells
from ingest.readers.pdf.lines import Line


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_HYPHENS = ("\ufffe", "\u0002", "-", "\u00ad", "\u2010")
_MARKED = re.compile("[\ufffe\u0002]")
_SOFT = "\u00ad"
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_LAST_PART = re.compile(r"[^\W\d_]+$")
_FIRST_PART = re.compile(r"[^\W\d_]+")
_PREFIXES = _words("well self non half ex all cross anti long short high low ill")
"""Words that are mostly written with a hyphen before another."""
_CONJUNCTIONS = _words("und oder bzw sowie and or et ou y o e of en och og")
_WIDE = re.compile("[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]")

_LONG = 0.5
"""Shorter lines, by their share of the block's width, end where they were meant to end."""

Part = tuple[int, str]
"""A page's number and the text that is on it."""


class Joiner:
    """Joins lines; `lines` are all of the document's, whose words tell how a cut word is spelt."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines = lines

    def parts(self, block: Block) -> list[Part]:
        """Returns the text of a block, cut where a page begins."""
        first, *others = block.lines
        parts = [(first.page, first.text)]
        above = first
        for line in others:
            page, text = parts[-1]
            text, gap, rest = self._join(text, above, line, right=block.right)
            if line.page == page:
                parts[-1] = (page, text + gap + rest)
            else:
                parts[-1] = (page, text)
                parts.append((line.page, gap + rest))
            above = line
        return [(page, _MARKED.sub("-", text)) for page, text in parts]

    def _join(self, text: str, above: Line, line: Line, *, right: float) -> tuple[str, str, str]:
        """Returns the text so far, what stands between, and the line."""
        rest = line.text
        if text.endswith(_HYPHENS) and len(text) > 1 and text[-2].isalpha():
            return self._without_hyphen(text, rest)
        if _WIDE.match(text[-1]) and _WIDE.match(rest[0]):
            return text, "", rest
        if line.page != above.page or line.base < above.base:
            return text, " ", rest
        long = above.right - above.left > _LONG * (right - above.left)
        goes_on = is_wrapped(above, line, right) or (long and rest[0].islower())
        return text, " " if goes_on and not has_cells(above) else "\n", rest

    def _without_hyphen(self, text: str, rest: str) -> tuple[str, str, str]:
        """Joins a word that was cut; a hyphen stays where the word has one of its own."""
        stem = text[:-1]
        before, after = _LAST_PART.search(stem), _FIRST_PART.match(rest)
        if rest[0].isdigit():
            return f"{stem}-", "", rest
        if not before or not after or after[0].lower() in _CONJUNCTIONS:
            return f"{stem}-", " ", rest
        if text[-1] != _SOFT and self._has_hyphen(before[0], after[0]):
            stem += "-"
        return stem, "", rest

    def _has_hyphen(self, before: str, after: str) -> bool:
        """Checks how the document spells a word of two parts; else the rule of its language."""
        if not after[0].islower():
            return True
        if (before + after).lower() in self._words:
            return False
        return f"{before}-{after}".lower() in self._words or before.lower() in _PREFIXES

    @cached_property
    def _words(self) -> set[str]:
        return {word.lower() for line in self._lines for word in _WORD.findall(line.text)}
