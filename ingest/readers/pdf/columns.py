"""Finds columns: the pieces of a page in the order in which they are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from operator import attrgetter
from statistics import median

from ingest.readers.pdf.lines import Line, Piece, lines_of_pieces

_GUTTER = 0.7
"""The least width of the space between columns, in heights of the text."""
_HANGING = 0.6
"""How far a line's first sign may stand out of its column, in heights of the text."""
_MOST_GUTTERS = 8
_DEEPEST = 5
_BUCKET = 3.0
"""Points within which lines begin at the same place."""
_LEAST_WORDS = 3
"""Mean words in a line of a column of prose; a cell of a table has fewer."""
_MANY_WORDS, _MANY_LINES = 5, 4
_LEAST_GOING_ON, _MOSTLY_GOING_ON = 0.25, 0.6
_LEAST_ALIGNED = 0.8
_WIDER = 1.3


def regions(pieces: Sequence[Piece], page: int, *, deepest: int = _DEEPEST) -> list[list[Line]]:
    """Returns the lines of each region of a page: of a column, or of what spans the page."""
    if deepest:
        for gutter in _gutters(pieces):
            bands = _bands(pieces, gutter)
            if any(_are_columns(left, right, page) for _, left, right in bands):
                return _read(bands, page, deepest=deepest - 1)
    lines = lines_of_pieces(pieces, page)
    return [lines] if lines else []


def _read(
    bands: Iterable[tuple[list[Piece], list[Piece], list[Piece]]], page: int, *, deepest: int
) -> list[list[Line]]:
    found: list[list[Line]] = []
    together: list[Piece] = []
    for spanning, left, right in bands:
        together += spanning
        if _are_columns(left, right, page):
            found += regions(together, page, deepest=deepest)
            together = []
            found += regions(left, page, deepest=deepest)
            found += regions(right, page, deepest=deepest)
        else:
            together += left + right
    return found + regions(together, page, deepest=deepest)


def _gutters(pieces: Sequence[Piece]) -> list[float]:
    """Returns places where a right column may begin, the likeliest first."""
    if len(pieces) < 4:  # noqa: PLR2004 - two lines in two columns
        return []
    starts = Counter(round(piece.left / _BUCKET) for piece in pieces)
    leftmost = min(starts)
    edges: dict[int, float] = {}
    for piece in pieces:
        bucket = round(piece.left / _BUCKET)
        edges[bucket] = min(edges.get(bucket, piece.left), piece.left)
    likely = []
    for bucket, count in starts.most_common(_MOST_GUTTERS):
        if bucket == leftmost or count < 2:  # noqa: PLR2004
            continue
        spanning, left, right = _split(pieces, edges[bucket])
        fewer = min(len(left), len(right))
        if fewer > 1:
            likely.append((fewer - len(spanning), edges[bucket]))
    return [edge for _, edge in sorted(likely, reverse=True)]


def _split(pieces: Iterable[Piece], gutter: float) -> tuple[list[Piece], list[Piece], list[Piece]]:
    """Returns the pieces that span the gutter, those left of it and those right of it."""
    spanning, left, right = [], [], []
    for piece in pieces:
        if piece.left >= gutter - _HANGING * piece.size:
            right.append(piece)
        elif piece.right <= gutter - _GUTTER * piece.size:
            left.append(piece)
        else:
            spanning.append(piece)
    return spanning, left, right


def _bands(
    pieces: Sequence[Piece], gutter: float
) -> list[tuple[list[Piece], list[Piece], list[Piece]]]:
    """Returns the bands between what spans the gutter, each with what is above it."""
    spanning, left, right = _split(pieces, gutter)
    spanning.sort(key=attrgetter("base"))
    bases = [piece.base for piece in spanning]
    bands: list[tuple[list[Piece], list[Piece], list[Piece]]] = [([], [], [])]
    bands += [([piece], [], []) for piece in spanning]
    heights = [piece.size for piece in spanning]
    for side, those in ((1, left), (2, right)):
        band = 0
        for piece in sorted(those, key=attrgetter("base")):
            while band < len(bases) and bases[band] <= piece.base + 0.4 * heights[band]:
                band += 1
            beside = band and abs(bases[band - 1] - piece.base) <= 0.4 * heights[band - 1]
            bands[band][0 if beside else side].append(piece)
    return bands


def _are_columns(left: Sequence[Piece], right: Sequence[Piece], page: int) -> bool:
    """Tells columns of prose from the cells of a table."""
    sides = [lines_of_pieces(side, page) for side in (left, right)]
    if min(map(len, sides)) < 2:  # noqa: PLR2004 - one line beside another is a line
        return False
    few_words = min(map(_words, sides)) < _LEAST_WORDS
    if _painted_apart(left, right):
        return not (few_words and _are_beside(*sides))
    if few_words or _are_rows(*sides):
        return False
    if _go_on(sides):
        return True
    return all(_words(side) >= _MANY_WORDS and len(side) >= _MANY_LINES for side in sides)


def _painted_apart(left: Sequence[Piece], right: Sequence[Piece]) -> bool:
    """Checks that one side was painted before the other: tables are painted row by row."""
    return max(piece.order for piece in left) < min(piece.order for piece in right)


def _are_beside(left: Sequence[Line], right: Sequence[Line]) -> bool:
    """Checks that most lines of the shorter side stand at the height of one on the other."""
    bases = [{round(line.base / _BUCKET) for line in side} for side in (left, right)]
    return len(bases[0] & bases[1]) >= _LEAST_ALIGNED * min(map(len, bases))


def _words(lines: Sequence[Line]) -> float:
    """Returns the mean number of words in a piece; two letters of Chinese are a word."""
    pieces = [piece for line in lines for piece in line.pieces]
    return sum(max(len(p.text.split()), _wide(p.text) / 2) for p in pieces) / len(pieces)


def _wide(text: str) -> int:
    return sum("\u2e80" <= char <= "\uffee" for char in text)


def _go_on(sides: Sequence[Sequence[Line]]) -> bool:
    """Checks that sentences go on from line to line: on both sides, or mostly on one."""
    steps = [[_continues(above.text, below.text) for above, below in pairwise(s)] for s in sides]
    both = all(sum(each) >= _LEAST_GOING_ON * len(each) for each in steps)
    return both or sum(map(sum, steps)) >= _MOSTLY_GOING_ON * sum(map(len, steps))


def _continues(above: str, below: str) -> bool:
    return below[0].islower() or above.endswith(("-", "\ufffe", ",")) or bool(_wide(below[0]))


def _are_rows(left: Sequence[Line], right: Sequence[Line]) -> bool:
    """Checks that wide gaps are at the same heights on both sides, as between rows of a table."""
    breaks = [_breaks(side) for side in (left, right)]
    return bool(breaks[0]) and breaks[0] == breaks[1] and len(breaks[0]) > 1


def _breaks(lines: Sequence[Line]) -> set[int]:
    steps = [below.base - above.base for above, below in pairwise(lines)]
    usual = min(steps)
    wide = {
        round(below.base / _BUCKET)
        for (_, below), step in zip(pairwise(lines), steps, strict=True)
        if step > _WIDER * usual
    }
    return wide if median(steps) <= _WIDER * usual else set()
