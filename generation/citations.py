"""From the `[n]` markers of an answer to the exact spans that carry what it says."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate

from rag.sentences import Span, sentence_spans
from rag.types import Chunk, Citation, Hit

MIN_SUPPORT = 0.5
"""A passage with less of a claim than this does not carry it. SQuAD's questions, taken as claims,
have this much of the sentence that answers them in 80 of 100 cases, and of the best sentence of
some other paragraph in 1."""
MAX_PARAPHRASE = 0.99
"""Support of a sentence that has all of a claim, but not word for word: only a quote has 1."""
GRAM = 3
"""Characters compared at a time: endings matter little, and no language needs its own words."""

_NUMBERS = r"\d{1,3}(?:, ?\d{1,3}){0,7}"
_LONGEST_MARKER = 40
_MARKER = re.compile(rf"(?<!\\)\[({_NUMBERS})\]")
_TO_ESCAPE = re.compile(rf"\[(?={_NUMBERS}\])")
_ESCAPED = re.compile(rf"\\\[(?={_NUMBERS}\])")
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+")
_AFTER_MARKER = re.compile(r"[\s.,;:!?)]*")


def verify(text: str, hits: Sequence[Hit]) -> tuple[Citation, ...]:
    """The citations of a whole answer, in its order; see `CitationChecker`."""
    return CitationChecker(hits).feed(text)


def escape_markers(text: str) -> str:
    r"""Makes a quote's own "[1]" a "\[1]", which is not taken for a marker."""
    return _TO_ESCAPE.sub(r"\\[", text)


class CitationChecker:
    """Checks an answer's markers while it is being written.

    A marker stands behind the text since the marker before it: all of it where the passage has it
    word for word, else its last sentence. Markers without a word between them stand behind the same
    text. One that points nowhere, or to a passage without support, cites nothing.
    """

    def __init__(self, hits: Sequence[Hit]) -> None:
        self._passages = [_Passage(hit.chunk) for hit in hits]
        self._unread = ""
        self._read = 0
        """Characters of the answer before those unread."""
        self._claim = ""
        self._cited: set[tuple[int, Span]] = set()

    def feed(self, piece: str) -> tuple[Citation, ...]:
        """The citations of the markers that end in the next piece of the answer.

        How an answer is cut into pieces makes no difference.
        """
        searched = max(0, len(self._unread) - _LONGEST_MARKER)
        self._unread += piece
        citations: list[Citation] = []
        claimed = 0
        for marker in _MARKER.finditer(self._unread, searched):
            text = self._unread[claimed : marker.start()]
            if _WORD.search(text):
                self._claim = _ESCAPED.sub("[", text)
            place = self._read + marker.start(), self._read + marker.end()
            for number in marker[1].split(","):
                citations += self._cite(int(number), place)
            claimed = marker.end()
        self._unread = self._unread[claimed:]
        self._read += claimed
        return tuple(citations)

    def _cite(self, number: int, place: Span) -> Iterator[Citation]:
        if not self._claim or not 1 <= number <= len(self._passages):
            return
        passage = self._passages[number - 1]
        span, support = passage.find(self._claim)
        if support < MIN_SUPPORT or (number, span) in self._cited:
            return
        self._cited.add((number, span))
        yield _citation(passage.chunk, number, place, span, support)


class _Passage:
    """A chunk's text, with white space folded for comparing and spans given as it stands."""

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk

    def find(self, claim: str) -> tuple[Span, float]:
        """The span that carries the claim best, and its support; see `CitationChecker`."""
        sentence = claim[slice(*sentence_spans(claim)[-1])]
        for text in (claim, _AFTER_MARKER.sub("", claim, count=1), sentence):
            if span := self._quoted(" ".join(text.split())):
                return span, 1.0
        return self._paraphrased(sentence)

    @cached_property
    def _words(self) -> list[re.Match[str]]:
        return list(re.finditer(r"\S+", self.chunk.text))

    @cached_property
    def _folded(self) -> str:
        return " ".join(word[0] for word in self._words)

    @cached_property
    def _word_starts(self) -> list[int]:
        """Where each word starts in the folded text."""
        return [0, *accumulate(len(word[0]) + 1 for word in self._words)][:-1]

    @cached_property
    def _sentences(self) -> list[tuple[Span, set[str], set[str]]]:
        """Each sentence's span, grams and numbers."""
        text = self.chunk.text
        return [
            ((a, b), _grams(text[a:b]), set(_NUMBER.findall(text, a, b)))
            for a, b in sentence_spans(text)
        ]

    def _quoted(self, text: str) -> Span | None:
        """Where the folded text stands, whole words only."""
        at = self._folded.find(text)
        while text and at >= 0:
            if self._between_words(at) and self._between_words(at + len(text)):
                return self._unfold(at), self._unfold(at + len(text) - 1) + 1
            at = self._folded.find(text, at + 1)
        return None

    def _between_words(self, at: int) -> bool:
        return not (self._folded[at - 1 : at].isalnum() and self._folded[at : at + 1].isalnum())

    def _unfold(self, at: int) -> int:
        """The place in the chunk's text of a character of the folded text."""
        word = bisect_right(self._word_starts, at) - 1
        return self._words[word].start() + at - self._word_starts[word]

    def _paraphrased(self, claim: str) -> tuple[Span, float]:
        """The sentence with most of the claim's grams, times the share of its numbers it has."""
        grams, numbers = _grams(claim), set(_NUMBER.findall(claim))
        best: tuple[Span, float] = ((0, 0), 0.0)
        for span, its_grams, its_numbers in self._sentences:
            support = _share(grams, its_grams) * _share(numbers, its_numbers)
            if grams and support > best[1]:
                best = span, support
        return best[0], min(best[1], MAX_PARAPHRASE)


def _grams(text: str) -> set[str]:
    padded = (f" {word} " for word in _WORD.findall(text.lower()))
    return {word[i : i + GRAM] for word in padded for i in range(len(word) - GRAM + 1)}


def _share(wanted: set[str], found: set[str]) -> float:
    return len(wanted & found) / len(wanted) if wanted else 1.0


def _citation(chunk: Chunk, marker: int, place: Span, span: Span, support: float) -> Citation:
    start, end = span
    return Citation(
        marker=marker,
        marker_start=place[0],
        marker_end=place[1],
        chunk_id=chunk.id,
        document_id=chunk.document_id,
        uri=chunk.uri,
        title=chunk.title,
        page=chunk.page,
        headings=chunk.headings,
        start=chunk.start + start,
        end=chunk.start + end,
        quote=chunk.text[start:end],
        support=support,
    )
