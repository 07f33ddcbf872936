"""Tells which names of a claim the passages do not have."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from generation.grounding.typing_errors import LONG, distance
from rag.text.folding import without_accents
from rag.text.languages import language_of

NO_NOUNS = frozenset({"de"})
"""Languages that write every noun with a capital."""
LONGEST_ACRONYM = 6
"""Letters, at most, of a name that may be the initials of others."""
SHORTEST_ASKED = 6
"""Letters from which one error in a name of the question is overlooked."""
SHORTEST_STEM = 4
"""Letters that remain of a name without its ending."""

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_ENDING = r"(?:['’]s|y|s|n|ns|ans?|ians?|es|ese|ish|ism|ists?|ers?|ern|ic)"
"""Endings of names and of the words made from them: Germany, German; Russia, Russians."""
_ENDED = re.compile(rf"{_ENDING}\Z")
_LETTERS = re.compile(r"[^\W\d_]+")
_BETWEEN = r"(?:[\s.-]+[a-z]{1,3}){0,2}[\s.-]+"
"""Between the words of a name: "Bank of England", "Member of the Scottish Parliament"."""
_ONE_NAME = (
    "france french frenchman frenchmen",
    "england english englishman englishmen",
    "britain british briton britons",
    "netherlands holland dutch",
    "spain spanish spaniard spaniards",
    "poland polish pole poles",
    "denmark danish dane danes",
    "sweden swedish swede swedes",
    "finland finnish finn finns",
    "ireland irish",
    "scotland scottish scots",
    "wales welsh",
    "switzerland swiss",
    "greece greek greeks",
    "turkey turkish turk turks",
)
"""Words of one country that share no beginning, or a short one.

One counts where it has a capital: "pole", "swede", "turkey" and "polish" are other words.
"""
_OTHERS = {word: frozenset(line.split()) for line in _ONE_NAME for word in line.split()}


def words(text: str) -> list[str]:
    """Returns the words of a text."""
    return _WORD.findall(text)


class KnownNames:
    """The names that a text has.

    A name is known in another form of it ("German" by "Germany", "Protestantism" by "Protestants"),
    and by the words whose initials it has: "US" by "United States", and the other way round.
    Accents do not matter, nor does one wrong letter behind the first in a long name. A name that
    the question has, too, may be shorter: a claim repeats its typing error.
    """

    def __init__(self, text: str) -> None:
        text = without_accents(text)
        self._text = text
        self._lower = text.lower()
        self._words = frozenset(words(self._lower))
        written = _LETTERS.findall(text)
        self._capitals = frozenset(word.lower() for word in written if word[0].isupper())

    def missing(self, claim: str, question: str = "") -> list[str]:
        """Returns words with a capital, inside a sentence, that the text lacks; each once.

        `question` is the one that the claim answers, if there is one.
        """
        stated = words(without_accents(claim))
        asked = frozenset(words(without_accents(question)))
        names = dict.fromkeys(word for word in stated[1:] if word[0].isupper())
        missing = [
            name
            for name in names
            if not self._has(name)
            and not self._misspells(name.lower(), SHORTEST_ASKED if name in asked else LONG)
        ]
        if not missing or language_of(claim) in NO_NOUNS:
            return []
        shortened = {word for run in _runs(stated) if self._has_initials(run) for word in run}
        return [name for name in missing if name not in shortened]

    def _has(self, name: str) -> bool:
        lower = name.lower()
        parts = (lower, *re.split("[-'’]", lower))
        if any(self._has_part(part) for part in parts):
            return True
        forms = {form for part in parts if part not in _OTHERS for form in _forms(part)}
        return (bool(forms) and _stands_in(self._lower, "|".join(forms))) or self._spells_out(name)

    def _has_part(self, part: str) -> bool:
        """True if the text has a word, or another one of its country with a capital."""
        return part in self._words or not self._capitals.isdisjoint(_OTHERS.get(part, ()))

    def _spells_out(self, name: str) -> bool:
        """True if the text has words with the letters of an acronym as initials."""
        acronym = name.isupper() and 1 < len(name) <= LONGEST_ACRONYM
        return acronym and _stands_in(self._text, _BETWEEN.join(rf"{c}\w*" for c in name))

    def _misspells(self, name: str, shortest: int) -> bool:
        """True if the text has a word that differs from the name by one letter.

        Neither is shorter than `shortest`.
        """
        return len(name) >= shortest and any(
            word[0] == name[0] and abs(len(word) - len(name)) <= 1 and distance(word, name) == 1
            for word in self._words
            if len(word) >= shortest
        )

    def _has_initials(self, run: Sequence[str]) -> bool:
        initials = r"\.?".join(re.escape(word[0]) for word in run)
        return 1 < len(run) <= LONGEST_ACRONYM and _stands_in(self._text, initials)


def _forms(word: str) -> Iterator[str]:
    """Yields patterns of the forms of a word in lower case."""
    yield re.escape(word)
    for end in range(SHORTEST_STEM, len(word) + 1):
        if end == len(word) or _ENDED.match(word, end):
            yield f"{re.escape(word[:end])}{_ENDING}?"


def _stands_in(text: str, pattern: str) -> bool:
    return re.search(rf"(?<![^\W\d_])(?:{pattern})(?![^\W\d_])", text) is not None


def _runs(found: Sequence[str]) -> Iterator[list[str]]:
    """Yields the words with a capital that stand together."""
    for capital, run in groupby(found, key=lambda word: word[0].isupper()):
        if capital:
            yield list(run)
