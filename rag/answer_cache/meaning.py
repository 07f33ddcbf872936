"""Compares two questions by their words: whether they ask the same.

A vector of a sentence hardly moves with one word: "opened before 1990" and "closed after 1990",
"Watt told Black" and "Black told Watt" lie next to each other. So the words decide. Questions are
the same if they have the same words in the same order, but for what does not carry meaning:
inflection, articles, auxiliary verbs, courtesy, a few synonyms, the form in which a figure is
written, and the place of a clause such as "in 1990".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from generation.grounding.comparison import NEGATION
from rag.text.figures import Figure, figures, in_digits
from rag.text.languages import language_of
from rag.text.yes_no import CLOSED, COURTESY

_WORD = re.compile(
    r"[^\W\d_]+(?:-[^\W\d_]+)*|(?<=\w)[-−](?![\w-])|[^\w\s.,;:?!¿¡…'’‘`´\"“”„«»()\[\]–—−-]|_"  # noqa: RUF001
)
"""A word, or a sign: "C++" is not "C#". In many scripts vowels are marks, which are signs here."""
_YEAR_ASKED = re.compile(r"\b(?:in |during )?(?:what|which) year\b", re.IGNORECASE)
_PAST = re.compile(r"\b(?:was|were|did|had|war|waren|wurde|wurden|hatte|hatten)\b", re.IGNORECASE)
_NOT = (
    (re.compile(r"\b(?:cannot|can['’]t)\b", re.IGNORECASE), "can not"),
    (re.compile(r"\bwon['’]t\b", re.IGNORECASE), "will not"),
    (re.compile(r"n['’]t\b", re.IGNORECASE), " not"),
)
_SILENT = frozenset(
    word
    for line in (
        "a an the s is are was were be been being am do does did has have had what which that",
        "there",
        "der die das den dem des ein eine einen einem einer eines ist sind war waren wird werden",
        "wurde wurden hat haben hatte hatten welche welcher welches welchen welchem",
    )
    for word in line.split()
)
"""Words of which a question has one or another, or none, with the same meaning."""
_BEFORE_A_VERB = frozenset(
    word
    for line in (
        "do does did can could will would shall should may might must to",
        "kann können darf dürfen muss müssen soll sollen will wollen möchte möchten",
    )
    for word in line.split()
)
_VERBS = frozenset({"do", "have", "be", "haben", "werden"})
"""Silent words that are verbs of their own behind one of these: "did he do", "did he have"."""
_PLACED = {
    **dict.fromkeys(("in", "on", "at", "during", "im", "am", "während"), "in"),
    **{
        word: word
        for line in (
            "by to from with without for against of into onto out off over under between before",
            "after than as like about through until since behind above below toward towards within",
            "per von zu zum zur mit ohne für gegen aus über unter zwischen vor nach als wie bis",
            "seit bei",
        )
        for word in line.split()
    },
}
"""Prepositions, which say what the words behind them have to do with the rest."""
_SAME = (
    "locate situate",
    "call name",
    "main principal primary chief",
    "need require",
    "build construct built",
    "make create made",
    "begin start began begun commence",
    "end finish",
    "happen occur",
    "big large",
    "fast quick",
    "purpose aim goal",
    "kind type sort",
    "area region",
    "show demonstrate",
    "method way",
    "usual normal",
    "often frequent",
    "choose select chose chosen",
    "movie film",
    "country nation",
    "buy purchase bought",
    "help assist",
    "get obtain receive got",
    "use utilize",
    "say state said",
    "whole entire",
    "near close",
    "car automobile",
    "doctor physician",
    "who whom",
)
"""Words that mean the same in a question, whatever it is about; a line for each meaning."""
_ENDINGS = (
    *(("ies", "y", 5), ("sses", "ss", 5), ("ss", "ss", 3), ("us", "us", 3), ("is", "is", 3)),
    *(("ing", "", 6), ("ed", "", 5), ("s", "", 4)),
)
"""Endings, what stands for each, and the letters of the shortest word that has it."""


@dataclass(frozen=True, slots=True)
class Term:
    """A word by its stem, or a figure, and the preposition before it; "" if there is none."""

    word: str | Figure
    placed: str

    def same(self, other: Term) -> bool:
        """Returns True if both are the same word, or figures of the same value and unit."""
        if self.placed != other.placed:
            return False
        one, two = self.word, other.word
        if isinstance(one, str) or isinstance(two, str):
            return one == two
        return one.equals(two) and bool(one.units) == bool(two.units)


@dataclass(frozen=True, slots=True)
class Meaning:
    """The meaning of a question: its terms in their order, negations, tense and kind."""

    language: str | None
    negations: int
    past: bool
    closed: bool
    """True if it is answered by yes or no."""
    terms: tuple[Term, ...]

    def agrees(self, other: Meaning) -> bool:
        """Returns True if nothing that carries the meaning differs."""
        return (
            (self.language == other.language or None in (self.language, other.language))
            and (self.negations, self.past, self.closed)
            == (other.negations, other.past, other.closed)
            and len(self.terms) == len(other.terms) > 0
            and (
                any(_same(self.terms, order) for order in _orders(other.terms))
                or any(_same(other.terms, order) for order in _orders(self.terms))
            )
        )


@lru_cache(maxsize=4096)
def meaning_of(question: str) -> Meaning:
    """Returns the meaning of a question; that of the last ones is remembered."""
    for contracted, whole in _NOT:
        question = contracted.sub(whole, question)
    text = _YEAR_ASKED.sub("when", COURTESY.sub(" ", question))
    language = language_of(question)
    return Meaning(
        language=language,
        negations=len(NEGATION.findall(question)),
        past=bool(_PAST.search(question)),
        closed=CLOSED.match(text) is not None,
        terms=tuple(_terms(text, language)),
    )


def _terms(text: str, language: str | None) -> Iterator[Term]:
    placed, verb_follows = "", False
    for word in _words(text):
        folded = word.casefold() if isinstance(word, str) else ""
        if folded in _SILENT and not (verb_follows and folded in _VERBS):
            verb_follows |= folded in _BEFORE_A_VERB
            continue
        verb_follows |= folded in _BEFORE_A_VERB
        if folded in _PLACED:
            placed += _PLACED[folded] + " "
            continue
        yield Term(word if isinstance(word, Figure) else _named(folded, language), placed)
        placed = ""
    if placed:
        yield Term("", placed)


def _named(word: str, language: str | None) -> str:
    stem = word if language == "de" else _stem(word)
    return _BY_STEM.get(stem, stem)


def _words(text: str) -> Iterator[str | Figure]:
    """Yields words and figures, in their order."""
    found = figures(text)
    text, end = in_digits(text), 0
    for figure in found:
        yield from _WORD.findall(text[end : figure.start])
        yield figure
        end = figure.end
    yield from _WORD.findall(text[end:])


def _orders(terms: Sequence[Term]) -> Iterator[Sequence[Term]]:
    """Yields the terms as they are, and with each clause behind a preposition in front."""
    yield terms
    for place, term in enumerate(terms):
        if place and term.placed:
            yield (*terms[place:], *terms[:place])


def _same(ours: Sequence[Term], theirs: Sequence[Term]) -> bool:
    return all(one.same(other) for one, other in zip(ours, theirs, strict=True))


def _stem(word: str) -> str:
    """Returns an English word without the endings of plurals and of verbs: "defeated" is "defeat".

    Words that differ in more, such as "unofficial" and "official", stay different.
    """
    for ending, by, shortest in _ENDINGS:
        if word.endswith(ending) and len(word) >= shortest:
            word = word.removesuffix(ending) + by
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] in "bdgmnprt":  # noqa: PLR2004
        word = word[:-1]  # "stopped"
    return word.removesuffix("e") if len(word) > 3 else word  # noqa: PLR2004


_BY_STEM: Mapping[str, str] = {
    _stem(word): line.split()[0] for line in _SAME for word in line.split()
}
