"""Editions of one document: which is newer, which was asked for, and where they contradict."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

from generation.grounding.choice import Candidate
from rag.text.document_names import date_of, family_of
from rag.types import Chunk

LIKE = 0.6
"""Jaccard similarity of their words from which sentences of two editions are about the same."""
MOST = 60
"""Best candidates that are compared."""
_ABOVE = 1e-3
"""Difference in score that puts the newer sentence first."""

_CURRENT = re.compile(
    r"\b(?:current(?:ly)?|now(?:adays)?|latest|newest|today|at present|presently|most recent|"
    r"aktuell\w*|derzeit\w*|jetzt|heute|neueste[rsn]?|actuel\w*|maintenant|aujourd'hui|dernière?|"
    r"actual\w*|ahora|hoy|attual\w*|adesso|oggi|atual\w*|agora|huidige?|nu)\b",
    re.IGNORECASE,
)
_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_WORD = re.compile(r"\w+")
_PLAIN = re.compile(r"[^\W\d_]{3,}")
_KNOWN = 2048
"""Sentences whose words are kept: many questions find the same ones."""


class Editions:
    """The dates of passages, and the families of documents that they belong to."""

    def __init__(self, question: str, chunks: Sequence[Chunk]) -> None:
        self._question = frozenset(word.lower() for word in _WORD.findall(question))
        self._current = bool(_CURRENT.search(question))
        self._years = set(_YEAR.findall(question))
        self._words = {word.lower() for word in _PLAIN.findall(question)}
        self.dates = [date_of(chunk) for chunk in chunks]
        """The date of each passage's document, such as 2025-06; empty if it is not known."""
        self._families = [family_of(chunk) for chunk in chunks]
        documents: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for family, chunk, date in zip(self._families, chunks, self.dates, strict=True):
            if date:
                documents[family].add(chunk.document_id)
        self._several = {family for family, ids in documents.items() if len(ids) > 1 and family}

    def preferred(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Returns the candidates without those of editions that were not asked for.

        "The 2023 policy" asks for one of that year. Of sentences about the same, that of the newest
        edition comes first, and the one before it follows, unless the current state was asked for.
        """
        if not self._several:
            return list(candidates)
        kept = [c for c in candidates if self._of_the_year(c)] or list(candidates)
        newer_dates: dict[int, set[str]] = defaultdict(set)
        raised: dict[int, float] = {}
        for newer, old in sorted(self._pairs(kept), key=self._date_of_newer):
            newer_dates[id(old)].add(self.dates[newer.sentence.place])
            scores = [raised.get(id(each), each.sentence.score) for each in (newer, old)]
            raised[id(newer)] = max(scores[0], scores[1] + _ABOVE)
        most = 0 if self._current else 1
        kept = [c for c in kept if len(newer_dates[id(c)]) <= most]
        return [_scored(c, raised[id(c)]) if id(c) in raised else c for c in kept]

    def contradicting(
        self, chosen: Sequence[Candidate], candidates: Sequence[Candidate]
    ) -> list[Candidate]:
        """Returns the newest older sentence that has other numbers than the first chosen one."""
        if not self._several or not chosen or self._current:
            return []
        first = chosen[0]
        others = [
            old
            for newer, old in self._pairs([first, *(c for c in candidates if c is not first)])
            if newer is first and _numbers(old) != _numbers(first)
        ]
        others = [old for old in others if all(old.sentence != c.sentence for c in chosen)]
        return sorted(others, key=lambda c: self.dates[c.sentence.place])[-1:]

    def newest_first(self, chosen: Sequence[Candidate]) -> list[Candidate]:
        """Returns the chosen sentences, first one of a newer edition that answers as much.

        It has the terms of the question that the best one has, and a figure or a date. The order
        stays if the question names the edition of the best one.
        """
        first = chosen[0]
        newer = [c for c in chosen[1:] if self._is_newer(c, first)]
        if not newer or self._names(first.chunk, newer[0].chunk):
            return list(chosen)
        newest = max(newer, key=lambda c: self.dates[c.sentence.place])
        return [newest, *(c for c in chosen if c is not newest)]

    def _is_newer(self, candidate: Candidate, first: Candidate) -> bool:
        place, other = candidate.sentence.place, first.sentence.place
        return (
            self._families[place] == self._families[other]
            and self._families[place] in self._several
            and self.dates[place] > self.dates[other]
            and bool((candidate.asked | ~first.asked).all())
            and bool(_numbers(candidate))
        )

    def _names(self, one: Chunk, other: Chunk) -> bool:
        """Returns True if the question has a word of one title that the other title lacks."""
        own, others = (frozenset(_WORD.findall(c.title.lower())) for c in (one, other))
        return bool(self._question & (own - others))

    def shown(self, chosen: Sequence[Candidate]) -> tuple[tuple[int, str], ...]:
        """Returns the places and dates to show: of editions, if several of a family are quoted."""
        quoted: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for c in chosen:
            quoted[self._families[c.sentence.place]].add(c.chunk.document_id)
        several = {family for family, ids in quoted.items() if len(ids) > 1} & self._several
        places = dict.fromkeys(c.sentence.place for c in chosen)
        return tuple(
            (place, self.dates[place])
            for place in places
            if self.dates[place] and self._families[place] in several
        )

    def _date_of_newer(self, pair: tuple[Candidate, Candidate]) -> str:
        return self.dates[pair[0].sentence.place]

    def _of_the_year(self, candidate: Candidate) -> bool:
        place = candidate.sentence.place
        family, date = self._families[place], self.dates[place]
        if not self._years or family not in self._several or not self._words & set(family):
            return True
        years = {d[:4] for d, f in zip(self.dates, self._families, strict=True) if f == family}
        return date[:4] in self._years or not years & self._years

    def _pairs(self, candidates: Sequence[Candidate]) -> Iterator[tuple[Candidate, Candidate]]:
        """Yields sentences about the same in two editions, the newer first."""
        best = sorted(candidates, key=lambda c: -c.sentence.score)[:MOST]
        for i, one in enumerate(best):
            for other in best[i + 1 :]:
                a, b = one.sentence.place, other.sentence.place
                same = self._families[a] == self._families[b] and self._families[a] in self._several
                if same and self.dates[a] != self.dates[b] and _alike(one, other):
                    yield (one, other) if self.dates[a] > self.dates[b] else (other, one)


def _alike(one: Candidate, other: Candidate) -> bool:
    a, b = _words(_text(one)), _words(_text(other))
    return bool(a) and len(a & b) >= LIKE * len(a | b)


@lru_cache(maxsize=_KNOWN)
def _words(text: str) -> frozenset[str]:
    return frozenset(word.lower() for word in _PLAIN.findall(text))


def _numbers(candidate: Candidate) -> frozenset[str]:
    return frozenset(_NUMBER.findall(_text(candidate)))


def _text(candidate: Candidate) -> str:
    sentence = candidate.sentence
    return candidate.chunk.text[sentence.start : sentence.end]


def _scored(candidate: Candidate, score: float) -> Candidate:
    return replace(candidate, sentence=replace(candidate.sentence, score=score))
