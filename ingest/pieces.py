"""What chunks are put together from: spans with their cost in tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from rag.plain import plain
from rag.sentences import Span

CountTokens = Callable[[Sequence[str]], list[int]]
"""Token counts of texts, in input order. Counts add up where a text is cut at white space."""
# Tokenizers count a word they give up on (base64, a data URI) as one token. No prose has tokens
# this long, so characters are counted as well.
_LONGEST_TOKEN = 20
_WORD = re.compile(r"\S{1,64}")
_LINE = re.compile(r"\S.*")
_STRETCH = re.compile(r"\S.*(?:\n[^\S\n]*\S.*)*")
# Counts of these tell tokenizers apart.
_PROBE = ("Tokenizers disagree about internationalization,", "naïve 3.14159", "東京 _is_code(x)")


@dataclass(frozen=True, slots=True)
class Piece:
    """A span, and its cost in tokens once it is measured.

    `by_lines`: where it must be divided its lines come first, as in code and in tables.
    """

    start: int
    end: int
    by_lines: bool = False
    cost: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How many tokens a chunk may hold, and how many of them it may share with the one before."""

    count_tokens: CountTokens
    max_tokens: int
    overlap: int

    def __str__(self) -> str:
        """Both sizes, and how the tokenizer counts a few telling words: part of a fingerprint."""
        probe = "-".join(map(str, self.count_tokens(_PROBE)))
        return f"{self.max_tokens}+{self.overlap}:{probe}"

    def measure(self, text: str, pieces: Iterable[Piece]) -> list[Piece]:
        """The pieces with their cost; the tokens of all are counted in one call."""
        pieces = list(pieces)
        counts = self.count_tokens([text[p.start : p.end] for p in pieces]) if pieces else []
        return [
            replace(piece, cost=max(count, (piece.end - piece.start) // _LONGEST_TOKEN))
            for piece, count in zip(pieces, counts, strict=True)
        ]

    def divide(
        self, text: str, pieces: Iterable[Piece], cut: Callable[[str], list[Span]]
    ) -> list[Piece]:
        """The parts of pieces, measured."""
        return self.measure(
            text,
            [
                Piece(piece.start + start, piece.start + end)
                for piece in pieces
                for start, end in (line_spans if piece.by_lines else cut)(
                    text[piece.start : piece.end]
                )
            ],
        )

    def pack(self, pieces: Iterable[Piece]) -> list[list[Piece]]:
        """Neighbours put together as long as they fit; each pack repeats the end of the last."""
        packs: list[list[Piece]] = []
        cost = 0
        for piece in pieces:
            wide = packs and piece.end - packs[-1][0].start > self.max_tokens * _LONGEST_TOKEN
            if packs and not wide and cost + piece.cost <= self.max_tokens:
                packs[-1].append(piece)
                cost += piece.cost
            else:
                shared = self._shared(packs[-1], before=piece) if packs else []
                packs.append([*shared, piece])
                cost = sum(part.cost for part in packs[-1])
        return packs

    def _shared(self, pack: Sequence[Piece], *, before: Piece) -> list[Piece]:
        """The end of a pack, but never all of it, that fits in front of the next piece."""
        room = min(self.overlap, self.max_tokens - before.cost)
        first = len(pack)
        while first > 1 and pack[first - 1].cost <= room:
            first -= 1
            room -= pack[first].cost
        return list(pack[first:])


def stretch_spans(text: str) -> list[Span]:
    """Runs of lines between blank lines."""
    return [found.span() for found in _STRETCH.finditer(plain(text))]


def line_spans(text: str) -> list[Span]:
    """Lines that are not blank, without their indentation."""
    return [found.span() for found in _LINE.finditer(plain(text))]


def word_spans(text: str) -> list[Span]:
    """Runs without white space, long ones cut."""
    return [found.span() for found in _WORD.finditer(text)]
