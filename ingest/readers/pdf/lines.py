"""Joins what was painted to pieces of lines, and pieces to lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from ingest.readers.pdf.pages import SLANTED, WIDE, Run

_SPACE = 0.2
"""In heights of the text: a gap that is wider is a space, where pdfium sees a new line."""
_BACK = 0.4
_RAISED = 0.6
"""In heights of the larger text: how far indices lie above or below their line."""
_SAME_LINE = 0.4


@dataclass(slots=True)
class Piece:
    """A part of a line without wide gaps; `order` is its place in the order of painting."""

    text: str
    left: float
    right: float
    base: float
    size: float
    bold: bool
    order: int


@dataclass(slots=True)
class Line:
    """Pieces side by side, from left to right; base and size are those of the longest."""

    pieces: list[Piece]
    page: int
    text: str
    left: float
    right: float
    base: float
    size: float
    bold: bool


def pieces_by_turn(runs: Sequence[Run]) -> list[list[Piece]]:
    """Returns the pieces of each direction of reading; the one with most letters comes first."""
    letters: dict[int, int] = {}
    for run in runs:
        letters[run.turn] = letters.get(run.turn, 0) + len(run.text)
    turns = sorted(letters, key=lambda turn: (turn == SLANTED, -letters[turn]))
    return [_pieces([run for run in runs if run.turn == turn]) for turn in turns]


def lines_of_pieces(pieces: Iterable[Piece], page: int) -> list[Line]:
    """Returns lines from top to bottom: pieces at about the same height are one line."""
    rows: list[list[Piece]] = []
    base = size = 0.0
    for piece in sorted(pieces, key=attrgetter("base")):
        if rows and piece.base - base <= _SAME_LINE * max(size, piece.size):
            rows[-1].append(piece)
            if piece.size > size:
                base, size = piece.base, piece.size
        else:
            rows.append([piece])
            base, size = piece.base, piece.size
    return [line_of(row, page) for row in rows]


def line_of(pieces: list[Piece], page: int) -> Line:
    """Returns a line of these pieces, which are put in order."""
    if len(pieces) == 1:
        [only] = pieces
        return Line(
            pieces, page, only.text, only.left, only.right, only.base, only.size, bold=only.bold
        )
    pieces.sort(key=attrgetter("left"))
    longest = max(pieces, key=lambda piece: len(piece.text))
    return Line(
        pieces,
        page,
        text=" ".join(piece.text for piece in pieces),
        left=pieces[0].left,
        right=max(piece.right for piece in pieces),
        base=longest.base,
        size=longest.size,
        bold=all(piece.bold for piece in pieces),
    )


def _pieces(runs: Sequence[Run]) -> list[Piece]:
    pieces: list[Piece] = []
    parts: list[str] = []
    letters = 0
    for order, run in enumerate(runs):
        last = pieces[-1] if pieces else None
        if last is None or not _goes_on(last, run):
            if last:
                last.text = "".join(parts)
            parts = [run.text]
            letters = len(run.text)
            pieces.append(
                Piece("", run.left, run.right, run.base, run.size, bold=run.bold, order=order)
            )
            continue
        wide = run.left - last.right > _SPACE * max(last.size, run.size)
        parts += " " if run.gap == " " or (run.gap and wide) else "", run.text
        last.right = max(last.right, run.right)
        if len(run.text) > letters:  # the longest part is the measure: others are indices, or marks
            letters, last.base, last.size, last.bold = len(run.text), run.base, run.size, run.bold
    if pieces:
        pieces[-1].text = "".join(parts)
    return pieces


def _goes_on(last: Piece, run: Run) -> bool:
    height = max(last.size, run.size)
    if abs(run.base - last.base) > _RAISED * height:
        return False
    gap = run.left - last.right
    return (-_BACK * height <= gap <= WIDE * height and last.bold == run.bold) or (
        -_BACK * height <= gap <= _SPACE * height
    )
