"""Finds the phrases that a claim shares with a passage, and how well the rest of it fits there.

A claim with the wrong name, date or number has a phrase whose surroundings in the passage are not
about the rest of the claim, while another word of the same shape, its rival, has surroundings that
are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from rag.inference.arithmetic import product
from rag.types import Float32Array, Span, TokenVectors

REACH = 20
"""Distance at which the surroundings of a word count 1/e, in words, with the pauses below."""
SHORT_WORD = 0.5
"""Distance that a short word takes."""
CLAUSE = 4
SENTENCE = 10
"""Distance added by a comma, a bracket or the like, and by the end of a sentence."""
TEMPERATURE = 0.05
"""Of the softmax over cosines, and of the one over fits."""
NO_RIVAL = 0.05
"""Weight of the unknown rival, relative to the phrase's own place."""
SHORT = 3
"""Letters, at most, of a word that may be an article or a preposition."""

_WORD = re.compile(r"\w+")
_PAUSE = re.compile(r"[,;:()\[\]–—、，；：（）]")  # noqa: RUF001 - Chinese
_SMALL = 0.01
"""Fits below are alike."""
_SPREAD = 0.05
"""Added to the standard deviation of logarithms of fits: keeps the quotient finite."""

Shape = Literal["short", "number", "name", "other"]


class Word(NamedTuple):
    """A word, lowered, with its shape; `start` and `end` are the range of its tokens.

    `stem` is its beginning, which other forms of it have too.
    """

    text: str
    stem: str
    shape: Shape
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    """Words of a claim, as many as possible, that stand in a passage in the same order.

    Attributes:
        words: the claim's words, one of them longer than `SHORT` or a number.
        shape: the shape of the last such word in the passage.
        places: the ranges of tokens of the passage that it stands at.
    """

    words: Sequence[Word]
    shape: Shape
    places: Sequence[Span]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How well the claim's phrases fit the places that they have in the passage.

    Attributes:
        rivals: the logarithm of the odds that the rest of a phrase's claim is about a word of the
            same shape which the claim does not have, the mean over phrases.
        number_rivals: the highest of these for numbers, 0 if no phrase is one.
        standing: how many standard deviations better the rest of the claim fits around the phrase
            than around the words of the passage on average, the weighted mean over phrases.
    """

    rivals: float = 0.0
    number_rivals: float = 0.0
    standing: float = 0.0


def read_words(text: str, tokens: TokenVectors, first: Collection[int] = ()) -> list[Word]:
    """Returns the words of a text that the encoder has read.

    Args:
        text: the text.
        tokens: its tokens.
        first: tokens with which sentences begin: a capital letter makes no name there.
    """
    found = list(_WORD.finditer(text))
    edges = np.searchsorted(tokens.spans[:, 0], [match.span() for match in found]).reshape(-1, 2)
    return [
        _word(match[0], start, end, first=start in first)
        for match, (start, end) in zip(found, edges.tolist(), strict=True)
        if start < end
    ]


def _word(written: str, start: int, end: int, *, first: bool) -> Word:
    return Word(*_form(written, first=first), start, end)


@lru_cache(maxsize=1 << 14)
def _form(written: str, *, first: bool) -> tuple[str, str, Shape]:
    """Returns text, stem and shape of a word; a text has most of its words several times."""
    text = written.lower()
    stem = text[: max(SHORT + 1, len(text) - SHORT)]
    return text, stem, _shape(written, first=first)


def _shape(word: str, *, first: bool) -> Shape:
    if word[0].isdigit():
        return "number"
    if len(word) <= SHORT:
        return "short"
    return "name" if word[0].isupper() and not first else "other"


class Surroundings:
    """The words of a passage, and how near its tokens are to each other.

    `body` has the first tokens of the long words below the titles. `nearness` is
    float32[tokens, tokens], 1 on the diagonal.
    """

    def __init__(self, text: str, tokens: TokenVectors, sentences: Sequence[Span]) -> None:
        """Make the surroundings.

        Args:
            text: the text of the tokens.
            tokens: the tokens of the passage.
            sentences: the ranges of its sentences' tokens.
        """
        starts = [start for start, _ in sentences]
        self.titles_end = starts[0] if starts else 0
        self.words = read_words(text, tokens, frozenset(starts))
        self.title_stems = {w.stem for w in self.words if w.start < self.titles_end}
        long = [w for w in self.words if w.shape != "short" and w.start >= self.titles_end]
        self.body = [word.start for word in long]
        self._starts = np.array(self.body, np.int32)
        self._of_shape = {
            shape: np.array([word.shape == shape for word in long], np.bool_)
            for shape in {word.shape for word in long}
        }
        self._at_stem: dict[str, list[int]] = {}
        for i, word in enumerate(long):
            self._at_stem.setdefault(word.stem, []).append(i)
        self.at: dict[str, list[int]] = {}
        for i, word in enumerate(self.words):
            self.at.setdefault(word.text, []).append(i)
        places = self._places(text, tokens, starts)
        self.nearness: Float32Array = np.exp(-np.abs(places[:, None] - places))

    def others(self, stems: AbstractSet[str]) -> dict[Shape, npt.NDArray[np.int32]]:
        """Returns the first tokens of the long words below the titles without these stems."""
        kept = np.ones(len(self.body), np.bool_)
        for stem in self._at_stem.keys() & stems:
            kept[self._at_stem[stem]] = False
        found = {shape: self._starts[kept & of_shape] for shape, of_shape in self._of_shape.items()}
        return {shape: starts for shape, starts in found.items() if len(starts)}

    def _places(self, text: str, tokens: TokenVectors, starts: Sequence[int]) -> Float32Array:
        """Returns float32[tokens]: the distance of each token from the beginning, / REACH."""
        steps = np.ones(len(tokens.spans), np.float32)
        for word in self.words:
            if word.shape == "short":
                steps[word.start : word.end] = SHORT_WORD
        pauses = np.searchsorted(tokens.spans[:, 0], [m.start() for m in _PAUSE.finditer(text)])
        np.add.at(steps, pauses[pauses < len(steps)], CLAUSE)
        steps[list(starts)] += SENTENCE
        places: Float32Array = np.cumsum(steps, dtype=np.float32) / np.float32(REACH)
        return places


def fits(cosines: Float32Array, nearness: Float32Array) -> Float32Array:
    """Returns how near each place of the passage is to what each token of the claim matches.

    A token matches the passage's tokens by the softmax of its cosines.

    Args:
        cosines: float32[claim tokens, passage tokens].
        nearness: float32[passage tokens, passage tokens], symmetric.

    Returns:
        float32[claim tokens, passage tokens], 0 to 1.
    """
    matched = np.exp((cosines - cosines.max(axis=1, keepdims=True)) / np.float32(TEMPERATURE))
    matched /= matched.sum(axis=1, keepdims=True)
    return product(matched, nearness)


def fit_of(
    words: Sequence[Word], weights: Float32Array, around: Float32Array, passage: Surroundings
) -> Fit:
    """Compares the places of the claim's phrases with those of their rivals.

    Phrases of the titles' words are left out if there are others: they fit everywhere. So is one
    that is the whole claim.

    Args:
        words: of the claim.
        weights: float32[claim tokens], which sum to 1.
        around: `fits` of the claim and the passage.
        passage: the passage.
    """
    found = list(phrases(words, passage))
    untitled = [phrase for phrase in found if not _in_title(phrase, passage)] or found
    ranges = [(phrase.words[0].start, phrase.words[-1].end) for phrase in untitled]
    shares = np.array([weights[start:end].sum() for start, end in ranges])
    partial = np.flatnonzero(shares < 1 - _SMALL).tolist()
    if not partial or not passage.body:
        return Fit()
    rest = np.repeat(weights[None], len(partial), axis=0)
    for row, k in enumerate(partial):
        rest[row, slice(*ranges[k])] = 0
    fit = rest @ around / rest.sum(axis=1, keepdims=True)  # [phrases, passage tokens]
    own = np.array(
        [
            max(fit[row, start:end].sum() / (end - start) for start, end in untitled[k].places)
            for row, k in enumerate(partial)
        ]
    )
    shapes = [untitled[k].shape for k in partial]
    rivals = passage.others({word.stem for word in words})
    odds = [
        log_odds(fit[row, rivals[shape]], own[row]) if shape in rivals else math.log(NO_RIVAL)
        for row, shape in enumerate(shapes)
    ]
    numbers = [odd for odd, shape in zip(odds, shapes, strict=True) if shape == "number"]
    return Fit(
        rivals=sum(odds) / len(odds),
        number_rivals=max(numbers, default=0.0),
        standing=float(
            shares[partial] @ standings(fit[:, passage.body], own) / shares[partial].sum()
        ),
    )


def log_odds(rivals: Float32Array, own: float) -> float:
    """Returns the logarithm of the odds of rivals with these fits against a place with its own."""
    return math.log(float(np.exp((rivals - own) / TEMPERATURE).sum()) + NO_RIVAL)


def standings(fit: Float32Array, own: Float32Array) -> Float32Array:
    """Returns float32[phrases] for float32[phrases, words] and float32[phrases]."""
    logs = np.log(fit + np.float32(_SMALL))
    above = np.log(own + np.float32(_SMALL)) - logs.mean(axis=1)
    found: Float32Array = above / (logs.std(axis=1) + np.float32(_SPREAD))
    return found


def phrases(words: Sequence[Word], passage: Surroundings) -> Iterator[Phrase]:
    """Yields the phrases of a claim that stand in a passage, the longest from left to right."""
    i = 0
    while i < len(words):
        length, places = _longest(words[i:], passage)
        phrase = words[i : i + length]
        i += max(1, length)
        long = [k for k, word in enumerate(phrase) if word.shape != "short"]
        if long:
            yield Phrase(
                words=phrase,
                shape=passage.words[places[0] + long[-1]].shape,
                places=[
                    (passage.words[at].start, passage.words[at + length - 1].end) for at in places
                ],
            )


def _longest(words: Sequence[Word], passage: Surroundings) -> tuple[int, list[int]]:
    """Returns how many of the first words stand somewhere in the passage, and where, as words."""
    length, places = 0, list(passage.at.get(words[0].text, ()))
    while places:
        length += 1
        if length == len(words):
            break
        longer = [
            at
            for at in places
            if at + length < len(passage.words)
            and passage.words[at + length].text == words[length].text
        ]
        if not longer:
            break
        places = longer
    return length, places


def _in_title(phrase: Phrase, passage: Surroundings) -> bool:
    """True if half of its long words are words of the titles, in any form."""
    long = [word.stem in passage.title_stems for word in phrase.words if word.shape != "short"]
    return sum(long) * 2 >= len(long)
