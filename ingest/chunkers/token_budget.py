"""Builds chunks from spans, by their cost in tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rag.text.plain import plain
from rag.types import Span

Cut = Callable[[str], list[Span]]
"""Divides a text into spans, in text order."""
CountTokens = Callable[[Sequence[str]], list[int]]
"""Token counts of texts, in input order. Counts add up where a text is cut at white space."""
# Tokenizers count a word they give up on (base64, a data URI) as one token. No prose has tokens
# this long, so characters are counted as well.
_LONGEST_TOKEN = 20
# Limits of a tokenizer's answer to one call, which has some hundred bytes for each token.
_COUNTED_PIECES = 4096
_COUNTED_CHARS = 1 << 17
WINDOW_CHARS = 1 << 17
"""Longest section in characters; a longer one is cut in windows, at a blank line if there is one:
cutting a text takes a hundred times its memory, and other threads wait while one regular expression
runs."""
_WORD = re.compile(r"\S{1,64}")
_WORD_END = re.compile(r"[0-9A-Za-z](?=\s)")
_LINE = re.compile(r"\S.*")
_STRETCH = re.compile(r"\S.*(?:\n[^\S\n]*\S.*)*")
# Counts of these distinguish tokenizers.
_PROBE = ("Tokenizers disagree about internationalization,", "naïve 3.14159", "東京 _is_code(x)")


class Piece(NamedTuple):
    """A span, and its cost in tokens once it is measured.

    `by_lines`: True if it is divided into lines first, as code and tables are. Pieces of different
    runs are never put together.
    """

    start: int
    end: int
    by_lines: bool = False
    run: int = 0
    cost: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The tokens that a chunk may hold, and how many of them it may share with the one before."""

    count_tokens: CountTokens
    max_tokens: int
    overlap: int

    def __str__(self) -> str:
        """Both sizes, and the tokenizer's counts of a few probe texts, for a fingerprint."""
        probe = "-".join(map(str, self.count_tokens(_PROBE)))
        return f"{self.max_tokens}+{self.overlap}:{probe}"

    def measure(self, text: str, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """Yields the pieces with their cost, at least 1; pieces that have a cost are unchanged.

        Some thousand pieces are counted in one call, equal ones once: half of the words of a wide
        table are separators. A piece that is over the budget by its length, or by the number of its
        words, is not counted, for it will be divided: its cost is the least that it can be.
        """
        for batch in _batches(pieces):
            texts = {
                piece.start: text[piece.start : piece.end] for piece in batch if piece.cost < 0
            }
            costs = {part: _least_cost(part) for part in texts.values()}
            open_ = [part for part, cost in costs.items() if cost <= self.max_tokens]
            counts = self.count_tokens(open_) if open_ else []
            costs |= zip(open_, map(max, counts, map(costs.__getitem__, open_)), strict=True)
            for piece in batch:
                start, end, by_lines, run, cost = piece
                if cost < 0:
                    piece = Piece(start, end, by_lines, run, costs[texts[start]])  # noqa: PLW2901
                yield piece

    def divide(self, text: str, pieces: Iterable[Piece], cut: Cut) -> Iterator[Piece]:
        """Replaces the pieces over the budget by their parts, measured."""
        parts = (
            part
            for piece in pieces
            for part in (self._parts(text, piece, cut) if piece.cost > self.max_tokens else [piece])
        )
        return self.measure(text, parts)

    def _parts(self, text: str, piece: Piece, cut: Cut) -> Iterator[Piece]:
        spans = (line_spans if piece.by_lines else cut)(text[piece.start : piece.end])
        at, run = piece.start, piece.run
        for start, end in spans:
            yield Piece(at + start, at + end, False, run)

    def pack(self, pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
        """Puts neighbours together as long as they fit; each pack repeats the end of the last."""
        pack: list[Piece] = []
        cost = 0
        for piece in pieces:
            wide = pack and piece.end - pack[0].start > self.max_tokens * _LONGEST_TOKEN
            if pack and not wide and cost + piece.cost <= self.max_tokens:
                pack.append(piece)
                cost += piece.cost
                continue
            if pack:
                yield pack
            pack = [*self._shared(pack, before=piece), piece]
            cost = sum(part.cost for part in pack)
        if pack:
            yield pack

    def _shared(self, pack: Sequence[Piece], *, before: Piece) -> list[Piece]:
        """Returns the end of a pack, but never all of it, that fits in front of the next piece."""
        room = min(self.overlap, self.max_tokens - before.cost)
        first = len(pack)
        while first > 1 and pack[first - 1].cost <= room:
            first -= 1
            room -= pack[first].cost
        return list(pack[first:])


def windows(start: int, end: int, text: str) -> Iterator[Span]:
    """Cuts a span into windows for memory and regular expressions, where it harms least."""
    while end - start > WINDOW_CHARS:
        cut = start + WINDOW_CHARS
        for mark in ("\n\n", "\n", " "):
            found = text.rfind(mark, cut - WINDOW_CHARS // 2, cut)
            if found >= 0:
                cut = found + len(mark)
                break
        yield start, cut
        start = cut
    yield start, end


def _least_cost(text: str) -> int:
    """Returns the least number of tokens: a word that ends in a letter or digit is at least one."""
    by_length = len(text) // _LONGEST_TOKEN
    return max(1, by_length, len(_WORD_END.findall(text)))


def _batches(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Yields the pieces in lists of limited length, and of limited length of text."""
    batch: list[Piece] = []
    chars = 0
    for piece in pieces:
        batch.append(piece)
        chars += piece.end - piece.start
        if len(batch) == _COUNTED_PIECES or chars >= _COUNTED_CHARS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


def stretch_spans(text: str) -> list[Span]:
    """Runs of lines between blank lines."""
    return [found.span() for found in _STRETCH.finditer(plain(text))]


def line_spans(text: str) -> list[Span]:
    """Lines that are not blank, without their indentation."""
    return [found.span() for found in _LINE.finditer(plain(text))]


def word_spans(text: str) -> list[Span]:
    """Runs without white space, long ones cut."""
    return [found.span() for found in _WORD.finditer(text)]
