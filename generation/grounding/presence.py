"""Tells which words and identifiers of a question the passages have, and which they lack."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rag.protocols import SparseEncoder
from rag.text.identifiers import identifiers, names_in
from rag.text.passages import heading_text, passage_text
from rag.types import Chunk


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


MAX_MISSING = 8
"""Words that are listed: a reader sees from these what is missing."""

_WORD = re.compile(r"[\w'’-]+")

_PLAIN_WORD = re.compile(r"\w+")
_FUNCTION_WORDS = _words("is are was were do does did of the in on to for and or a an")
_GERMAN = _words(
    "der das ist wie und ein eine einen einem einer wird werden für mit von zu im den dem wann wer "
    "wo welche welcher welches nicht auf nach bei gibt kann muss darf viele lange ich wir sich hat "
    "haben"
)

_ORDINAL_WORDS = (
    "first 1st erste erster ersten erstes premier première primer primero primera",
    "second 2nd zweite zweiter zweiten zweites deuxième seconde segundo segunda",
    "third 3rd dritte dritter dritten drittes troisième tercer tercero tercera",
    "fourth 4th vierte vierter vierten viertes quatrième cuarto cuarta",
    "fifth 5th fünfte fünfter fünften fünftes cinquième quinto quinta",
)
_ORDINALS = {word: n for n, words in enumerate(_ORDINAL_WORDS, start=1) for word in words.split()}
_ORDINAL = re.compile(rf"\b({'|'.join(_ORDINALS)}) ([^\W\d_]{{3,}})", re.IGNORECASE)
_COUNTED_OTHERWISE = frozenset(["time", "half", "quarter", "quartal", "halbjahr", "trimestre"])
"""Nouns that documents count in figures as well: Q1, H1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """The words of a question that no passage has; `everything` if no passage has any of them."""

    words: tuple[str, ...]
    everything: bool


def missing_words(question: str, chunks: Sequence[Chunk], encoder: SparseEncoder) -> Missing:
    """Returns the words that no passage has, in the question's order; stop words are none."""
    words = list(dict.fromkeys(_WORD.findall(question)))
    bags = encoder.encode([*words, *map(passage_text, chunks)])
    asked, have = bags[: len(words)], bags[len(words) :]
    terms = {term for bag in have for term in bag.indices.tolist()}
    content = [
        (word, own)
        for word, bag in zip(words, asked, strict=True)
        if (own := set(bag.indices.tolist()))
    ]
    missing = [word for word, own in content if not own & terms]
    return Missing(words=tuple(missing[:MAX_MISSING]), everything=len(missing) == len(content))


def names(question: str) -> list[str]:
    """Returns numbers, and words whose capital letter marks a name.

    A capital marks none at the beginning, in a text in capitals, in a title, nor in German.
    """
    words = _PLAIN_WORD.findall(question)
    lower = {word.lower() for word in words[1:]}
    plain = sum(word.islower() for word in words)
    titled = any(word in _FUNCTION_WORDS for word in map(str.lower, filter(_capital, words[1:])))
    unmarked = not plain or titled or len(lower & _GERMAN) > 1
    return [
        word
        for i, word in enumerate(words)
        if word[0].isdigit() or (i and _capital(word) and not unmarked)
    ]


def _other_ordinals(question: str, chunks: Sequence[Chunk]) -> list[str]:
    """Returns `first parent` if the passages speak of the second parent, and not of the first."""
    asked = _ordinals(question)
    if not asked:
        return []
    there = {pair for chunk in chunks for pair in _ordinals(passage_text(chunk))}
    nouns = {noun for _, noun in there}
    return [text for (n, noun), text in asked.items() if (n, noun) not in there and noun in nouns]


def _ordinals(text: str) -> dict[tuple[int, str], str]:
    return {
        (_ORDINALS[found[1].lower()], found[2].lower().rstrip("s")): found[0]
        for found in _ORDINAL.finditer(text)
        if found[2].lower() not in _COUNTED_OTHERWISE
    }


def _capital(word: str) -> bool:
    return word[0].isupper()


class Wanted:
    """The identifiers that a question asks for, and the passages that have them."""

    def __init__(self, question: str, chunks: Sequence[Chunk]) -> None:
        self._chunks = chunks
        self._forms = {e.text: set(e.forms) for e in identifiers(question) if e.strict}
        names = [names_in(passage_text(chunk)) for chunk in chunks] if self._forms else []
        self._having = [any(own & each for own in self._forms.values()) for each in names]
        unknown = [
            written for written, own in self._forms.items() if not any(own & each for each in names)
        ]
        self.absent = (*unknown, *_other_ordinals(question, chunks))
        """Identifiers, as written, that no passage has."""

    def allows(self, place: int, start: int, end: int) -> bool:
        """True if characters `start` to `end` of a passage can be about what the question names.

        They are not if the passage has none of its identifiers, or if they have others instead:
        the next row of a table is about another order.
        """
        if not self._forms:
            return True
        if not self._having[place]:
            return False
        chunk = self._chunks[place]
        text = chunk.text[start:end]
        if self._in(text) or self._in(heading_text(chunk)):
            return True
        return not any(each.strict for each in identifiers(text))

    def _in(self, text: str) -> bool:
        names = names_in(text)
        return any(own & names for own in self._forms.values())
