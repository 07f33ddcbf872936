"""Finds, for the `[n]` markers of an answer, the exact spans of passages that support it."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate

import numpy as np

from generation.grounding.restated import restated_row
from rag.protocols import SupportScorer
from rag.text.lists import without_mark
from rag.text.passages import heading_text
from rag.text.sentences import sentence_spans
from rag.text.table_cells import Row, table_lines, written
from rag.types import Cell, Chunk, Citation, Hit, Span

MIN_SUPPORT = 0.55
"""Support below which a passage does not support a claim: `benchmarks.run support`."""
MAX_PARAPHRASE = 0.99
"""Support of a sentence or row that has all of a claim, but not word for word, as a quote has."""

_NUMBERS = r"\d{1,3}(?:, ?\d{1,3}){0,31}"
_LONGEST_MARKER = 3 * 32 + 2 * 31 + 2
_MARKER = re.compile(rf" ?(?<!\\)\[({_NUMBERS})\]")
_OPEN = re.compile(rf" ?(?<!\\)\[[\d, ]{{0,{_LONGEST_MARKER}}}\Z")
_HELD = re.compile(rf"{_OPEN.pattern}| \Z")
"""The end of a text that may still become a marker, with the space before it."""
_TO_ESCAPE = re.compile(rf"\[(?={_NUMBERS}\])")
_ESCAPED = re.compile(rf"\\\[(?={_NUMBERS}\])")
_FENCE = re.compile(r"^[ \t]*```", re.MULTILINE)
_WORD = re.compile(r"\w+")
_CUT = r"\((?:\d+ more|\d{4}(?:-\d\d){0,2})\)"
"""The note of an extractive answer behind a marker: that there is more, or the edition's date."""
_AFTER_MARKER = re.compile(rf"(?: {_CUT}){{0,2}}[\s.,;:!?)]*")
_CUT_NOTE = re.compile(_CUT)


def escape_markers(text: str) -> str:
    r"""Makes a quote's own "[1]" a "\[1]", which is not taken for a marker."""
    return _TO_ESCAPE.sub(r"\\[", text)


class CitationChecker:
    """Checks an answer's markers while it is being written.

    A marker stands behind the text since the marker before it: all of it where the passage has it
    word for word, else its last sentence. Markers without a word between them stand behind the same
    text. A marker that points nowhere, or to a passage without support, is removed from the text
    with the space before it. In code, a number in brackets right after a name is an index, not a
    marker.
    """

    def __init__(self, hits: Sequence[Hit], support: SupportScorer) -> None:
        """Make a checker for one answer.

        Args:
            hits: the passages that its markers point to, from 1.
            support: scores how well one of their sentences supports a claim that is no quote.
        """
        self._passages = [Passage(hit.chunk) for hit in hits]
        self._support = support
        self._before = ""  # up to the last marker
        self._text = ""  # since the last marker
        self._sent = 0  # characters of it that were sent
        self._claim = ""
        self._cited: set[tuple[int, Span]] = set()
        self._unsupported: list[int] = []

    @property
    def unsupported(self) -> tuple[int, ...]:
        """The markers that were removed, in the order of the text."""
        return tuple(self._unsupported)

    async def feed(self, piece: str) -> list[str | Citation]:
        """Returns the text to send after the next piece, and each citation behind its marker.

        Only text that may still become a marker is held back. The result does not depend on how the
        answer is cut into pieces.
        """
        self._text += piece
        events: list[str | Citation] = []
        at = self._sent
        while marker := _MARKER.search(self._text, at):
            at = marker.end()
            if _is_code(self._before + self._text[: marker.end()], marker[1]):
                continue
            events += self._send(marker.start())
            events += await self._check(marker)
            self._before += self._text[: marker.end()]
            self._text, self._sent, at = self._text[marker.end() :], 0, 0
        held = _HELD.search(self._text, max(at, len(self._text) - _LONGEST_MARKER))
        return events + self._send(held.start() if held else len(self._text))

    def finish(self) -> list[str | Citation]:
        """Returns the text held back, once the answer is complete."""
        return self._send(len(self._text))

    async def cite(self, numbers: Sequence[int], held: float) -> list[str | Citation]:
        """Returns a marker and its citation for the text since the last marker, which holds.

        It names the first of these passages with a sentence that supports the text. If none has
        one, it names the first passage, its closest sentence, and the support `held`. Where the
        last marker was removed, the text is that before it.
        """
        events = self.finish()
        self._claim_from(self._text)
        for number in numbers:
            if found := await self._find(number):
                return [*events, *self._mark(number, *found)]
        closest = await self._closest(self._last, self._passages[numbers[0] - 1])
        if closest is None:
            return events
        return [*events, *self._mark(numbers[0], closest[0], min(held, MAX_PARAPHRASE))]

    def _mark(self, number: int, span: Span, support: float) -> list[str | Citation]:
        marker = f" [{number}]"
        self._before += self._text + marker
        self._text, self._sent = "", 0
        return [marker, *self._cite(number, span, support)]

    def _send(self, end: int) -> list[str | Citation]:
        text, self._sent = self._text[self._sent : end], end
        return [text] if text else []

    async def _check(self, marker: re.Match[str]) -> list[str | Citation]:
        """Returns the replacement of a marker: all of it, its numbers that hold, or nothing."""
        before = self._text[: marker.start()]
        self._claim_from(before)
        numbers = [int(number) for number in marker[1].split(",")]
        found = {number: span for number in numbers if (span := await self._find(number))}
        kept = [number for number in numbers if number in found]
        self._unsupported += [number for number in numbers if number not in found]
        if not kept:
            # Without it, what stands around it could become a marker.
            return [marker[0].replace("[", "\\[")] if _OPEN.search(before) else []
        space = " " * marker[0].startswith(" ")
        text = marker[0] if kept == numbers else f"{space}[{', '.join(map(str, kept))}]"
        return [text, *(c for number in kept for c in self._cite(number, *found[number]))]

    def _claim_from(self, text: str) -> None:
        """Takes a text with words as the claim; without them, it stays that before."""
        if _WORD.search(text):
            self._claim = _ESCAPED.sub("[", text)

    async def _find(self, number: int) -> tuple[Span, float] | None:
        """Returns the span of a passage that supports the claim, and its support."""
        if not self._claim or not 1 <= number <= len(self._passages):
            return None
        passage = self._passages[number - 1]
        sentence = self._last
        without_lead = _AFTER_MARKER.sub("", self._claim, count=1)
        for text in (self._claim, without_lead, sentence):
            span = passage.quoted(" ".join(text.split()))
            # The end of the sentence before is not quoted, unless the passage begins a sentence so.
            if span and (text != self._claim or text == without_lead or passage.begins(span[0])):
                return span, 1.0
        if row := restated_row(sentence, passage.rows, heading_text(passage.chunk)):
            return (row.start, row.end), MAX_PARAPHRASE
        closest = await self._closest(sentence, passage)
        return closest if closest and closest[1] >= MIN_SUPPORT else None

    @property
    def _last(self) -> str:
        """The last sentence of the claim, without the number of a list item: it is no figure."""
        return without_mark(self._claim[slice(*sentence_spans(self._claim)[-1])])

    async def _closest(self, claim: str, passage: Passage) -> tuple[Span, float] | None:
        """Returns the first of the sentences that support a claim best, and its support."""
        spans = passage.sentences
        if not spans or not _WORD.search(claim):
            return None
        scores = await self._support.score(claim, passage.chunk, spans)
        best = int(np.argmax(scores))
        return spans[best], min(float(scores[best]), MAX_PARAPHRASE)

    def _cite(self, number: int, span: Span, support: float) -> Iterator[Citation]:
        if (number, span) not in self._cited:
            self._cited.add((number, span))
            yield _citation(self._passages[number - 1], number, span, support)


def uncited(text: str, citations: Sequence[Citation]) -> tuple[str, ...]:
    """Returns the sentences of a checked answer that no marker follows and no quote contains.

    A heading, a question and a sentence that ends in a colon claim nothing.
    """
    plain, places = _without_markers(text)
    spans = [(a, b) for a, b in sentence_spans(plain) if _WORD.search(plain, a, b)]
    starts = [start for start, _ in spans]
    words = [word.start() for word in _WORD.finditer(plain)]
    last_words = [words[n - 1] for place in places if (n := bisect_left(words, place))]
    cited = {bisect_right(starts, word) - 1 for word in last_words}
    quotes = [" ".join(q.split()) for c in citations for q in (c.quote, written(c.cells))]
    sentences = (plain[a:b] for i, (a, b) in enumerate(spans) if i not in cited)
    return tuple(s for s in sentences if _claims(s) and not _stands_in(s, quotes))


def claims_of(text: str) -> tuple[str, ...]:
    """Returns the sentences of an answer that claim something, without their markers.

    A heading, a question and a sentence that ends in a colon claim nothing.
    """
    plain, _ = _without_markers(text)
    sentences = (plain[start:end] for start, end in sentence_spans(plain))
    return tuple(_ESCAPED.sub("[", s) for s in sentences if _WORD.search(s) and _claims(s))


def count_markers(text: str) -> int:
    """Counts the markers of an answer; `[1, 2]` is two."""
    return sum(
        marker[1].count(",") + 1
        for marker in _MARKER.finditer(text)
        if not _is_code(text[: marker.end()], marker[1])
    )


def without_markers(text: str) -> str:
    """Returns an answer without its markers."""
    plain, _ = _without_markers(text)
    return _ESCAPED.sub("[", plain)


def _without_markers(text: str) -> tuple[str, list[int]]:
    """Returns the text without its markers, and the place of each marker in it."""
    plain, places, end = "", [], 0
    for marker in _MARKER.finditer(text):
        if _is_code(text[: marker.end()], marker[1]):
            continue
        plain += text[end : marker.start()]
        places.append(len(plain))
        end = marker.end()
    return plain + text[end:], places


def _is_code(text: str, numbers: str) -> bool:
    """True if the marker that ends the text is an index: right after a name, in code.

    Only this much of Markdown is read: fences, and backticks that are open in their line.
    """
    before = text[: -len(numbers) - 2]
    if not before[-1:].isidentifier() and not before.endswith((")", "]", '"', "'")):
        return False
    fenced = len(_FENCE.findall(before)) % 2 == 1
    return fenced or before.rpartition("\n")[2].count("`") % 2 == 1


def _claims(sentence: str) -> bool:
    silent = sentence.startswith("#") or sentence.endswith((":", "?"))
    return not (silent or _CUT_NOTE.fullmatch(sentence))


def _stands_in(sentence: str, quotes: Sequence[str]) -> bool:
    folded = _ESCAPED.sub("[", " ".join(sentence.split()))
    return any(folded in quote for quote in quotes)


class Passage:
    """A chunk's text, with white space folded for comparisons, and spans in the original text."""

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk

    def quoted(self, text: str) -> Span | None:
        """Returns the span of the folded text; whole words only, or a row as it is written."""
        if row := self._rows_written.get(text):
            return row.start, row.end
        at = self._folded.find(text)
        while text and at >= 0:
            if self._between_words(at) and self._between_words(at + len(text)):
                return self._unfold(at), self._unfold(at + len(text) - 1) + 1
            at = self._folded.find(text, at + 1)
        return None

    def cells(self, span: Span) -> tuple[Cell, ...]:
        """Returns the cells of the row of a table that contains a span; none if there is none."""
        around = (r for r in self.rows if r.start <= span[0] and span[1] <= r.end)
        return next((row.cells for row in around), ())

    def begins(self, place: int) -> bool:
        """True if a sentence begins at this place."""
        return any(start == place for start, _ in self.sentences)

    @cached_property
    def sentences(self) -> list[Span]:
        """The spans of its sentences, in text order."""
        return sentence_spans(self.chunk.text)

    @cached_property
    def rows(self) -> list[Row]:
        """The rows of its tables, in text order."""
        return table_lines(self.chunk)[0]

    @cached_property
    def _rows_written(self) -> dict[str, Row]:
        return {" ".join(row.written.split()): row for row in reversed(self.rows)}

    @cached_property
    def _words(self) -> list[re.Match[str]]:
        return list(re.finditer(r"\S+", self.chunk.text))

    @cached_property
    def _folded(self) -> str:
        return " ".join(self.chunk.text.split())

    @cached_property
    def _word_starts(self) -> list[int]:
        """The place where each word starts in the folded text."""
        return [0, *accumulate(len(word[0]) + 1 for word in self._words)][:-1]

    def _between_words(self, at: int) -> bool:
        return not (self._folded[at - 1 : at].isalnum() and self._folded[at : at + 1].isalnum())

    def _unfold(self, at: int) -> int:
        """Returns the place in the chunk's text of a character of the folded text."""
        word = bisect_right(self._word_starts, at) - 1
        return self._words[word].start() + at - self._word_starts[word]


def _citation(passage: Passage, marker: int, span: Span, support: float) -> Citation:
    chunk, (start, end) = passage.chunk, span
    return Citation(
        marker=marker,
        chunk_id=chunk.id,
        document_id=chunk.document_id,
        uri=chunk.uri,
        title=chunk.title,
        page=chunk.page_at(chunk.start + start),
        headings=chunk.headings,
        start=chunk.start + start,
        end=chunk.start + end,
        quote=chunk.text[start:end],
        support=support,
        cells=passage.cells(span),
    )
