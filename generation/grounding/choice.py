"""Chooses, among the scored units of the passages, those that an answer is made of."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from generation.grounding.units import Listing, Unit
from rag.types import Chunk, Span

MAX_SENTENCES = 3
WEAKER_BY = 0.3
"""Distance to the best score beyond which a sentence is left out. Answers get shorter by a quarter,
and one in a hundred loses the sentence that mattered."""
SAME_TERMS = 0.75
"""Jaccard similarity of their terms from which two sentences count as saying the same."""
MAX_ROWS = 10
"""Rows of one table that an answer shows."""
LONGEST_LIST = 2000
"""Characters of a list that is quoted whole."""
LONGEST_ITEM = 100
"""Characters, in the mean, of the items of a list that is quoted whole without a lead-in."""


_SEVERAL = re.compile(
    r"\b(?:which|what (?:are|kinds?|types?|sorts?|\w+s are)|list|name (?:all|the)|enumerate|all|"
    r"welche\w?|was für|nenne\w*|liste|alle|quel(?:le)?s|énum\w+|citez?|tou(?:te)?s les|"
    r"cuáles|qué (?:tipos|clases)|enumer\w+|todos|quali|elenca\w*|tutt[ie]|quais|welke|jakie|"
    r"vilka|hvilke)\b|哪些|哪几|几种|どのような|какие",
    re.IGNORECASE,
)
"""A question that asks for several things."""

_Key = tuple[int, int]
"""A list: the place of its passage, and its start."""
_Table = tuple[str, str]
"""A table: its document, and its header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """Characters `start` to `end` of the chunk text of `prompt.hits[place]`.

    A list has its lead-in. `more` items of a list, or rows of the table that match as well, are
    left out behind it.
    """

    place: int
    start: int
    end: int
    score: float
    kind: Literal["sentence", "list", "row"] = "sentence"
    more: int = 0

    @property
    def span(self) -> Span:
        """The characters."""
        return self.start, self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Measures how well a sentence and its passage fit the question, for the confidence.

    Attributes:
        sentence: late interaction of question and sentence, -1 to 1.
        coverage: IDF-weighted share of the question's terms in the sentence, the sentence before it
            and the titles above it, 0 to 1.
        name_missing: 1 if the question has a name or a number that the passage has not, else 0.
        type_missing: 1 if the quote has nothing of the kind that the question asks for, such as a
            date, a price or a person, else 0.
        count_missing: 1 if the question asks how many, and the quote has no number close to what
            is counted, else 0.
        number_missing: 1 if the question has a number that neither the quote nor the titles above
            it have, else 0.
        unmatched: how far the question's content words are from the most similar one of the
            passage, weighted by IDF, 0 to 0.6.

    The last four are measured for what is quoted only.
    """

    sentence: float
    coverage: float
    name_missing: float
    type_missing: float = 0.0
    count_missing: float = 0.0
    number_missing: float = 0.0
    unmatched: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """A unit that may answer.

    `terms` are its own; `asked` is bool[terms of the question]: in it, and not in its context.
    """

    sentence: Sentence
    unit: Unit
    chunk: Chunk
    terms: frozenset[int]
    asked: npt.NDArray[np.bool_]
    features: Features


def choose(candidates: Sequence[Candidate], question: str = "") -> list[Candidate]:
    """Returns the best few units that differ, best first; items as their whole list.

    Of a table, the rows that have all of the question's terms that its best row has; if the best
    has none and the question asks for several, all rows.
    """
    lists = _Lists(candidates)
    ranked = sorted(candidates, key=lambda c: -c.sentence.score)
    weakest = ranked[0].sentence.score - WEAKER_BY
    chosen: list[Candidate] = []
    quoted: list[Candidate] = []
    seen: set[_Key] = set()
    for candidate in ranked:
        if len(chosen) == MAX_SENTENCES or candidate.sentence.score < weakest:
            break
        key = lists.key(candidate)
        if key in seen or _is_said(candidate, chosen):
            continue
        whole = lists.whole(candidate)
        if key is not None and whole[0].sentence.kind == "list":
            seen.add(key)
        chosen.append(candidate)
        quoted += whole
    return _with_rows(quoted, ranked, several=bool(_SEVERAL.search(question)))


def _is_said(candidate: Candidate, chosen: Sequence[Candidate]) -> bool:
    """Returns True if a chosen unit says the same; of two rows, if it has the same terms."""
    share = 1.0 if candidate.unit.row else SAME_TERMS
    return any(
        len(candidate.terms & other.terms) >= share * len(candidate.terms | other.terms)
        for other in chosen
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """A list in one chunk."""

    chunk: Chunk
    listing: Listing

    @property
    def begins(self) -> bool:
        """True if its chunk begins with an item."""
        return self.listing.start == 0 and self.listing.lead is None

    @property
    def ends(self) -> bool:
        """True if its chunk ends with it."""
        return self.listing.items[-1][1] == len(self.chunk.text)

    @property
    def chars(self) -> int:
        """Its characters, with its lead-in."""
        return self.listing.items[-1][1] - self.listing.start

    def fitting(self, room: int) -> tuple[int, int]:
        """Returns the end and the number of its first items that fit."""
        ends = [end for _, end in self.listing.items if end - self.listing.start <= room]
        return (ends[-1], len(ends)) if ends else (self.listing.start, 0)


class _Lists:
    """The lists of the passages; one that goes on in the next chunk is one list."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._parts: dict[_Key, _Part] = {}
        self._sentences: Counter[_Key] = Counter()
        for candidate in candidates:
            if listing := candidate.unit.listing:
                key = (candidate.sentence.place, listing.start)
                self._sentences[key] += 1
                self._parts.setdefault(key, _Part(candidate.chunk, listing))
        begun = {
            (p.chunk.document_id, p.chunk.position): k for k, p in self._parts.items() if p.begins
        }
        self._next: dict[_Key, _Key] = {}
        for key, part in self._parts.items():
            after = begun.get((part.chunk.document_id, part.chunk.position + 1))
            if part.ends and after is not None:
                self._next[key] = after
        self._before = {after: key for key, after in self._next.items()}

    def key(self, candidate: Candidate) -> _Key | None:
        """Returns the first part of the list that a unit is in; None if it is in none."""
        listing = candidate.unit.listing
        if listing is None:
            return None
        key = (candidate.sentence.place, listing.start)
        while key in self._before:
            key = self._before[key]
        return key

    def whole(self, candidate: Candidate) -> list[Candidate]:
        """Returns the list that a unit is in, a candidate for each chunk, or the unit alone.

        It is alone in a list that is longer than `LONGEST_LIST` and of which it is what was asked
        for, and in one without a lead-in whose items are long, or of several sentences: those are
        numbered sections.
        """
        key = self.key(candidate)
        if key is None:
            return [candidate]
        parts = list(self._from(key))
        chars = sum(part.chars for _, part in parts)
        count = sum(len(part.listing.items) for _, part in parts)
        sections = sum(self._sentences[k] for k, _ in parts) > count or chars > count * LONGEST_ITEM
        led = parts[0][1].listing.lead is not None
        if (sections and not led) or (chars > LONGEST_LIST and candidate.asked.any()):
            return [candidate]
        room, shown = LONGEST_LIST, 0
        quotes: list[Candidate] = []
        for (place, _), part in parts:
            end, items = part.fitting(room)
            if not items:
                break
            start, shown = part.listing.start, shown + items
            room -= end - start
            sentence = replace(
                candidate.sentence, place=place, start=start, end=end, kind="list", more=0
            )
            quotes.append(replace(candidate, sentence=sentence))
            if items < len(part.listing.items):
                break
        if not quotes:
            return [candidate]
        quotes[-1] = replace(quotes[-1], sentence=replace(quotes[-1].sentence, more=count - shown))
        return quotes

    def _from(self, key: _Key) -> Iterator[tuple[_Key, _Part]]:
        at: _Key | None = key
        while at is not None:
            yield at, self._parts[at]
            at = self._next.get(at)


def _with_rows(
    chosen: list[Candidate], ranked: Sequence[Candidate], *, several: bool
) -> list[Candidate]:
    """Returns the chosen units with all rows, of each table, that match as its best row does.

    The rows of a table that lack a term of the question that its best row has are left out. If
    the question names the best table only by its heading or its columns, and asks for `several`,
    that table comes with all of its rows; also if nothing but its rows was chosen.
    """
    best: dict[_Table, Candidate] = {}
    for candidate in chosen:
        if table := _table(candidate):
            best.setdefault(table, candidate)
    out = [c for c in chosen if _matches(c, best)]
    for table, first in best.items():
        alone = all(_table(c) == table for c in chosen)
        is_named = first is chosen[0] and (alone or first.features.coverage > 0)
        if not first.asked.any() and not (several and is_named):
            continue
        rows = [c for c in ranked if _table(c) == table and _matches(c, best)]
        shown = rows[:MAX_ROWS]
        out += [row for row in shown if row not in out]
        last = max(shown, key=lambda row: (row.sentence.place, row.sentence.start))
        more = replace(last, sentence=replace(last.sentence, more=len(rows) - len(shown)))
        out[out.index(last)] = more
    return out


def _table(candidate: Candidate) -> _Table | None:
    row = candidate.unit.row
    return (candidate.chunk.document_id, row.above) if row else None


def _matches(candidate: Candidate, best: dict[_Table, Candidate]) -> bool:
    """Returns True if it is no row, or has the terms of the question that its table's best has."""
    table = _table(candidate)
    if table is None:
        return True
    return bool((candidate.asked | ~best[table].asked).all())
