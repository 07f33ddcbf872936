"""HTML within Markdown: comments and elements that nobody sees, and tables."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence

from ingest.readers import html, html_hidden
from ingest.readers.edits import Edit
from rag.types import Span

_SUSPECT = re.compile(r"<!--|<[a-z][^<>]*(?:hidden|style)|^ {0,3}\[", re.IGNORECASE | re.MULTILINE)
_OPENING = re.compile(r"<!--|<([a-z][\w-]*)((?:\s[^<>]*)?)>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"([\w-]+)(?:\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+)))?")
# A definition of a link to nowhere: [//]: # (A comment.)
_DEFINITION = re.compile(
    r"^ {0,3}\[[^\]\n]*\]:[ \t]+(?:#|<#?>)[ \t]+(?:\(.*\)|\".*\"|'.*')[ \t]*$", re.MULTILINE
)
_TABLE = re.compile(r"<table[\s>]", re.IGNORECASE)
_PARAGRAPH = re.compile(r"(?:.*\S.*(?:\n|$))+")
_BACKTICKS = re.compile("`+")
_EMPTY = frozenset({"area", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"})


class Html:
    """Finds HTML in a text, outside its code."""

    def __init__(self, text: str, *, code: Sequence[Span]) -> None:
        """Make a finder; `code` are the blocks of code, in text order."""
        self._text = text
        self._blocks = code
        self._code: list[Span] | None = None
        self._unclosed: set[str] = set()

    def hidden(self) -> tuple[list[Edit], Sequence[str]]:
        """Returns what cuts comments and hidden elements out, and a note that counts them."""
        if not _SUSPECT.search(self._text):
            return [], ()
        elements = list(self._elements())
        comments = [*self._comments(), *self._definitions()]
        cuts = [Edit(start, end) for start, end in (*elements, *comments)]
        return cuts, tuple(html_hidden.note(len(elements), len(comments)))

    def tables(self, *, hidden: bool) -> Iterator[Edit]:
        """Yields the outermost `<table>` elements as rows."""
        at = 0
        while found := _TABLE.search(self._text, at):
            end = self._code_end(found.start()) or self._closing("table", found.end())
            if end is None:
                return
            at = end
            source = self._text[found.start() : end]
            if self._code_end(found.start()) or html.is_too_deep(source):
                continue
            part = html.fragment(source, hidden=hidden)
            yield Edit(found.start(), end, part.text, part.tables)

    def _comments(self) -> Iterator[Span]:
        at = 0
        while (start := self._text.find("<!--", at)) >= 0:
            end = self._code_end(start)
            if end is None:
                closing = self._text.find("-->", start + 4)
                if closing < 0:
                    return
                end = closing + 3
                yield start, end
            at = end

    def _definitions(self) -> Iterator[Span]:
        for found in _DEFINITION.finditer(self._text):
            if self._code_end(found.start()) is None:
                yield found.span()

    def _elements(self) -> Iterator[Span]:
        at = 0
        while found := _OPENING.search(self._text, at):
            at = self._code_end(found.start()) or found.end()
            if found[1] is None or at != found.end() or found[1].lower() in _EMPTY:
                continue
            if html_hidden.hides(_attributes(found[2])):
                end = self._closing(found[1].lower(), found.end())
                if end is not None:
                    yield found.start(), end
                    at = end

    def _closing(self, tag: str, at: int) -> int | None:
        """Returns the end of the element that is open at an offset; None if it stays open."""
        if tag in self._unclosed:
            return None
        depth = 1
        either = re.compile(rf"<(/?){tag}(?:\s[^<>]*)?>", re.IGNORECASE)
        for found in either.finditer(self._text, at):
            depth += -1 if found[1] else 1
            if not depth:
                return found.end()
        self._unclosed.add(tag)
        return None

    def _code_end(self, at: int) -> int | None:
        """Returns the end of the code at an offset; None if there is none."""
        if self._code is None:
            self._code = sorted([*self._blocks, *self._code_spans()])
        before = bisect_right(self._code, (at, len(self._text))) - 1
        end = self._code[before][1] if before >= 0 else 0
        return end if end > at else None

    def _code_spans(self) -> Iterator[Span]:
        """Yields code between equally long runs of backticks, as far as a paragraph goes."""
        at = 0
        for start, end in [*self._blocks, (len(self._text), len(self._text))]:
            for found in _PARAGRAPH.finditer(self._text, at, max(at, start)):
                yield from _between_backticks(self._text, *found.span())
            at = max(at, end)


def _between_backticks(text: str, start: int, end: int) -> Iterator[Span]:
    runs = [found.span() for found in _BACKTICKS.finditer(text, start, end)]
    places: defaultdict[int, deque[int]] = defaultdict(deque)
    for number, (first, last) in enumerate(runs):
        places[last - first].append(number)
    number = 0
    while number < len(runs):
        first, last = runs[number]
        alike = places[last - first]
        while alike and alike[0] <= number:
            alike.popleft()
        if alike:
            number = alike[0]
            yield first, runs[number][1]
        number += 1


def _attributes(source: str) -> dict[str, str | None]:
    return {
        found[1].lower(): found[2] or found[3] or found[4] or None
        for found in _ATTRIBUTE.finditer(source)
    }
