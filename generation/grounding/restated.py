"""Finds the sentence or the row of a table that a claim restates.

A sentence is restated if the claim is a part of it with figures in other forms: "5,000" for "5000".
A row is restated by the values of cells and the names of their columns: "For Lamp, price is 40."
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache

from generation.grounding.comparison import NEGATION
from rag.text.figures import Figure, figures, in_digits
from rag.text.sentences import sentence_spans
from rag.text.table_cells import Row
from rag.text.units import UNITS
from rag.types import Cell, Span

SHORT_WORD = 3
"""Letters, at most, of a word that may be an article or a preposition."""
_WORD = re.compile(r"\w+(?:\+\+|#(?!\w))?")
"""A word, with the signs behind it in "C++" and "C#"."""


@dataclass(frozen=True, slots=True)
class Token:
    """A word without letter case, or a figure; `short` is True for what may be an article."""

    text: str
    figure: Figure | None = None
    short: bool = False

    def same(self, other: Token) -> bool:
        """True for the same word, and for figures of the same value and unit."""
        if self.figure and other.figure:
            return self.figure.equals(other.figure)
        return self.figure is other.figure and self.text == other.text


@lru_cache(maxsize=512)
def tokens_of(text: str) -> tuple[Token, ...]:
    """Returns the words and figures of a text, in its order; the last texts are remembered."""
    return tuple(_tokens(" ".join(text.split())))


def _tokens(text: str) -> Iterator[Token]:
    found = figures(text)
    digits = in_digits(text) if found else text
    at = 0
    for figure in found:
        yield from _words(digits, at, figure.start)
        yield Token(figure.text, figure)
        at = figure.end
    yield from _words(digits, at, len(digits))


def _words(text: str, start: int, end: int) -> Iterator[Token]:
    for word in _WORD.finditer(text, start, end):
        begins = not word.start() and not word[0][1:].isupper()
        short = len(word[0]) <= SHORT_WORD and (begins or word[0].islower())
        yield Token(word[0].casefold(), None, short)


def restated_row(claim: str, rows: Iterable[Row], titles: str) -> Row | None:
    """Returns the first row that a claim restates; None if there is none.

    Args:
        claim: a sentence.
        rows: rows of a passage's tables.
        titles: title and headings of the passage.
    """
    return next((r for r, _ in _named(claim, rows) if _restates(claim, r.cells, titles)), None)


def misstates(claim: str, tables: Sequence[tuple[Sequence[Row], str]]) -> bool:
    """True if a claim restates no row of a passage, but one with a value of another row in it.

    Args:
        claim: a sentence.
        tables: of each passage, the rows of its tables, and title and headings. The other row may
            be another passage's, below the same header.
    """
    held: dict[str, list[Cell]] = defaultdict(list)  # by header
    named: list[tuple[Row, Sequence[Row], str]] = []
    for rows, titles in tables:
        for row, cells in _named(claim, rows):
            held[row.above] += cells
            named.append((row, rows, titles))
    return any(
        _restates(claim, changed, titles) and restated_row(claim, rows, titles) is None
        for row, rows, titles in named
        for cell in held[row.above]
        if cell not in row.cells
        for changed in _with(row.cells, cell)
    )


def restated_part(claim: str, text: str) -> Span | None:
    """Returns the first of a text's sentences that has a claim, with figures in other forms.

    None if no sentence has it in one piece, or the claim has no figure.
    """
    wanted = tokens_of(claim)
    if all(token.figure is None for token in wanted):
        return None
    words = {token.text for token in wanted if token.figure is None}
    if not words <= _words_of(text):
        return None
    for start, end in sentence_spans(text):
        sentence = text[start:end]
        if words <= _words_of(sentence) and _place(wanted, tokens_of(sentence)) is not None:
            return start, end
    return None


def _named(claim: str, rows: Iterable[Row]) -> Iterator[tuple[Row, list[Cell]]]:
    """Yields rows with the cells of which a claim has all words; rows without any restate nothing.

    This takes less time than to compare the figures.
    """
    words = _words_of(claim)
    for row in rows:
        if cells := [c for c in row.cells if (own := _words_of(c.value)) and words >= own]:
            yield row, cells


def _with(cells: Sequence[Cell], other: Cell) -> Iterator[Sequence[Cell]]:
    """Yields the cells with another in the place of each one of its column."""
    for i, cell in enumerate(cells):
        if other.column and cell.column == other.column:
            yield [*cells[:i], other, *cells[i + 1 :]]


def _restates(claim: str, cells: Sequence[Cell], titles: str) -> bool:
    """True if a claim says what the cells of a row say, and nothing else.

    1. It names columns, and for each of them has the value. The values follow each other as their
       columns do.
    2. It has the value of another cell, further left, or of two columns.
    3. Its other words are short, or stand in these columns or the titles. It has as many negations
       as these cells.
    """
    reading = _Reading(tokens_of(claim))
    columns = reading.named({cell.column for cell in cells})
    named = [cell for cell in cells if cell.column in columns]
    places = {cell: place for cell in named if (place := reading.take(cell)) is not None}
    if not places or columns != {cell.column for cell in places} or not reading.in_order(places):
        return False  # 1.
    leftmost = min(map(cells.index, places))
    name = next((cell for cell in cells[:leftmost] if reading.take(cell) is not None), None)
    stated = [*places, *([name] if name else [])]
    if len(stated) == 1:  # 2.
        return False
    source = " ".join(f"{cell.column} {cell.value}" for cell in stated)
    denials = len(NEGATION.findall(claim)) == len(NEGATION.findall(source))
    known = [
        token for part in (titles, *(cell.column for cell in stated)) for token in tokens_of(part)
    ]
    return denials and reading.has_only(known)  # 3.


class _Reading:
    """A claim, of which the values of cells are taken one after another."""

    def __init__(self, claim: Sequence[Token]) -> None:
        self._claim = claim
        self._free = [True] * len(claim)

    def named(self, columns: AbstractSet[str]) -> set[str]:
        """Returns the columns that the claim names; of "price" and "price in shops" the longer."""
        named = {
            column: words for column in columns if self._states_all(words := _name_tokens(column))
        }
        sets = {column: {word.text for word in words} for column, words in named.items()}
        return {c for c, words in sets.items() if not any(words < more for more in sets.values())}

    def take(self, cell: Cell) -> int | None:
        """Returns the place where the claim has a cell's value, as a token, and takes it."""
        for value in _readings(cell):
            place = _place(value, self._claim, self._free)
            if place is not None:
                self._free[place : place + len(value)] = [False] * len(value)
                return place
        return None

    def in_order(self, places: dict[Cell, int]) -> bool:
        """True if the values of cells follow each other as the claim names their columns."""
        columns = {cell: self._column_place(cell.column) for cell in places}
        return sorted(places, key=places.__getitem__) == sorted(places, key=columns.__getitem__)

    def has_only(self, known: Sequence[Token]) -> bool:
        """True if what was not taken is short or known."""
        rest = (t for t, free in zip(self._claim, self._free, strict=True) if free and not t.short)
        return all(any(token.same(other) for other in known) for token in rest)

    def _column_place(self, column: str) -> int:
        """Returns the place of a column's name, or of its first word; the end for a unit's."""
        wanted = tokens_of(column)
        places = (_place(part, self._claim) for part in (wanted, wanted[:1]))
        return next((place for place in places if place is not None), len(self._claim))

    def _states_all(self, tokens: Sequence[Token]) -> bool:
        return bool(tokens) and all(map(self._states, tokens))

    def _states(self, token: Token) -> bool:
        """True if the claim has a token, or a figure with the unit that it names."""
        unit = UNITS.get(token.text, {}).keys()
        return any(
            token.same(other) or bool(other.figure and other.figure.units & unit)
            for other in self._claim
        )


def _name_tokens(column: str) -> Sequence[Token]:
    """Returns the tokens of a column's name without units, or the units if it has none else."""
    tokens = tokens_of(column)
    return [token for token in tokens if token.text not in UNITS] or tokens


def _readings(cell: Cell) -> list[tuple[Token, ...]]:
    """Returns the tokens of a value; of a number without a unit, with each unit of its column."""
    tokens = tokens_of(cell.value)
    if len(tokens) != 1 or not tokens[0].figure or tokens[0].figure.units:
        return [tokens]
    units = [token.text for token in tokens_of(cell.column) if token.text in UNITS]
    return [tokens_of(f"{cell.value} {unit}") for unit in units] or [tokens]


def _place(
    wanted: Sequence[Token], text: Sequence[Token], free: Sequence[bool] | None = None
) -> int | None:
    """Returns the first place where tokens stand in one piece, all of them free; None if none."""
    for at in range(len(text) - len(wanted) + 1) if wanted else ():
        if free and not all(free[at : at + len(wanted)]):
            continue
        if all(a.same(b) for a, b in zip(wanted, text[at:], strict=False)):
            return at
    return None


@lru_cache(maxsize=1 << 11)
def _words_of(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.casefold()))
