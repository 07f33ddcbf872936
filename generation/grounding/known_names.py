"""Tells which names of a claim the passages do not have."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from rag.text.languages import language_of

NO_NOUNS = frozenset({"de"})
"""Languages that write every noun with a capital."""
LONGEST_ACRONYM = 6
"""Letters, at most, of a name that may be the initials of others."""
SHORTEST_STEM = 4
"""Letters that remain of a name without its ending."""

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_ENDING = r"(?:['’]s|y|s|n|ns|ans?|ians?|es|ese|ish|ism|ists?|ers?|ic)"
"""Endings of names and of the words made from them: Germany, German; Russia, Russians."""
_ENDED = re.compile(rf"{_ENDING}\Z")
_BETWEEN = r"(?:[\s.-]+[a-z]{1,3})?[\s.-]+"
"""Between the words of a name: "Bank of England"."""


def words(text: str) -> list[str]:
    """Returns the words of a text."""
    return _WORD.findall(text)


class KnownNames:
    """The names that a text has.

    A name is known in another form of it ("German" by "Germany", "Protestantism" by "Protestants"),
    and by the words whose initials it has: "US" by "United States", and the other way round.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._lower = text.lower()
        self._words = frozenset(words(self._lower))

    def missing(self, claim: str) -> list[str]:
        """Returns words with a capital, inside a sentence, that the text lacks; each once."""
        stated = words(claim)
        names = dict.fromkeys(word for word in stated[1:] if word[0].isupper())
        missing = [name for name in names if not self._has(name)]
        if not missing or language_of(claim) in NO_NOUNS:
            return []
        shortened = {word for run in _runs(stated) if self._has_initials(run) for word in run}
        return [name for name in missing if name not in shortened]

    def _has(self, name: str) -> bool:
        lower = name.lower()
        parts = (lower, *re.split("[-'’]", lower))
        if not self._words.isdisjoint(parts):
            return True
        forms = {form for part in parts for form in _forms(part)}
        return _stands_in(self._lower, "|".join(forms)) or self._spells_out(name)

    def _spells_out(self, name: str) -> bool:
        """True if the text has words with the letters of an acronym as initials."""
        acronym = name.isupper() and 1 < len(name) <= LONGEST_ACRONYM
        return acronym and _stands_in(self._text, _BETWEEN.join(rf"{c}\w*" for c in name))

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
