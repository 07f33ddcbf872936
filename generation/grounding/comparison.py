"""Compares a claim with a passage by token vectors, numbers and negations."""

from __future__ import annotations

import re
from functools import cached_property

import numpy as np

from generation.grounding.phrases import Fit, Surroundings, fit_of, fits, read_words
from rag.inference.arithmetic import product
from rag.text.figures import figures
from rag.text.passages import heading_text, passage_text, token_ranges
from rag.text.sentences import sentence_spans
from rag.text.stated_figures import missing_figures
from rag.types import Chunk, Float32Array, TokenVectors

FEATURES = (
    *("likeness", "astray", "rivals", "number_rivals", "standing"),
    *("number_missing", "number_astray", "negated", "denied"),
)
"""What a comparison measures: attributes of `Comparison`."""
NEARER = 2.5
"""Power of nearness at which a negation belongs to a word: a reach of eight words."""
SHARPNESS = 4
"""Power of a negation's nearness: half as near as possible counts next to nothing."""

_WORD = re.compile(r"\w+")
NEGATION = re.compile(
    r"\b(?:not?|never|none|nor|neither|without|cannot|nothing|nobody|non"
    r"|nicht|kein\w*|nie|niemals|ohne|weder|pas|jamais|sans|nunca|jamás|ning[uú]n\w*|nadie)\b"
    r"|n['’]t\b",
    re.IGNORECASE,
)
"""Words of negation in English, German, French and Spanish, without those that English has too."""


class ReadClaim:
    """A claim, with its data for comparison.

    `vectors` is float32[tokens, dim]; `weights` is float32[tokens] and sums to 1, or to 0 where the
    claim has neither letters nor digits.
    """

    def __init__(self, text: str, tokens: TokenVectors) -> None:
        self.text = text
        self.vectors = tokens.vectors
        letters = [sum(map(str.isalnum, text[start:end])) for start, end in tokens.spans]
        self.weights: Float32Array = np.array(letters, np.float32) / np.float32(
            max(1, sum(letters))
        )
        self.words = read_words(text, tokens)
        self.negations = _negations(text, tokens)

    @cached_property
    def affirmed(self) -> Float32Array:
        """float32[tokens]: the weights without those of negations, which sum to 1 or 0."""
        rest = self.weights.copy()
        rest[self.negations] = 0
        shares: Float32Array = rest / (rest.sum() or 1)
        return shares


class ReadPassage:
    """A chunk, with its data for comparison.

    `vectors` is float32[tokens, dim], the first `titles_end` of them the titles'. `ranges` are the
    tokens of each sentence that the encoder has read, `sentences` its text below the titles.
    """

    def __init__(self, chunk: Chunk, tokens: TokenVectors) -> None:
        self.vectors = tokens.vectors
        self.text = passage_text(chunk)
        self._folded = _folded(self.text)
        spans = sentence_spans(chunk.text)
        ranges = token_ranges(tokens, chunk, spans)
        above = heading_text(chunk)
        read = [
            (range_, above + chunk.text[start:end])
            for (start, end), range_ in zip(spans, ranges, strict=True)
            if range_[0] < range_[1]  # not past the encoder's window
        ]
        self.ranges = [range_ for range_, _ in read]
        self.sentences = [text for _, text in read]
        self.titles_end = self.ranges[0][0] if self.ranges else 0
        self._tokens = tokens

    @cached_property
    def surroundings(self) -> Surroundings:
        """Its words and the distances between them."""
        return Surroundings(self.text, self._tokens, self.ranges)

    @cached_property
    def negations(self) -> list[int]:
        """The tokens with which negations begin."""
        return _negations(self.text, self._tokens)

    def quoted(self, claim: str) -> bool:
        """True if the passage has all of the claim's words in one piece."""
        words = _folded(claim)
        return bool(words.strip()) and words in self._folded


class Comparison:
    """A claim compared with a passage; both have words. A token's weight is its number of letters.

    What takes time is computed when it is first read.

    Attributes:
        likeness: late interaction of the claim with the sentence that is most like it and the
            titles above it: the mean over the claim's tokens of the best cosine, -1 to 1.
        astray: how much better its tokens are matched elsewhere in the passage than there, the mean
            of the differences of cosines, 0 to 2.
    """

    def __init__(self, claim: ReadClaim, passage: ReadPassage) -> None:
        self._claim = claim
        self._passage = passage
        self._cosines = product(claim.vectors, passage.vectors)
        titles = self._cosines[:, : passage.titles_end].max(axis=1, initial=-1.0)
        near = np.stack([self._cosines[:, a:b].max(axis=1) for a, b in passage.ranges], axis=1)
        near = np.maximum(near, titles[:, None])  # [claim tokens, sentences]
        self._likenesses: Float32Array = claim.weights @ near
        best = int(np.argmax(self._likenesses))
        self.likeness = float(self._likenesses[best])
        self.astray = float(claim.weights @ (near.max(axis=1) - near[:, best]))

    @property
    def rivals(self) -> float:
        """`Fit.rivals`."""
        return self._fit.rivals

    @property
    def number_rivals(self) -> float:
        """`Fit.number_rivals`."""
        return self._fit.number_rivals

    @property
    def standing(self) -> float:
        """`Fit.standing`."""
        return self._fit.standing

    @property
    def number_missing(self) -> float:
        """1 if the claim has a number that the passage has not, else 0."""
        return self._numbers[0]

    @property
    def number_astray(self) -> float:
        """How much less like the claim the sentences are that have its numbers.

        The largest difference over its numbers; 0 for those that no sentence has.
        """
        return self._numbers[1]

    @property
    def negated(self) -> float:
        """How many negations the claim has more than the passage has near the matched words.

        A negation there counts from 0, far from them, to 1.
        """
        return max(0.0, len(self._claim.negations) - self._denials)

    @property
    def denied(self) -> float:
        """How much more of a negation the passage has there than the claim."""
        return max(0.0, self._denials - len(self._claim.negations))

    @cached_property
    def _fit(self) -> Fit:
        surroundings = self._passage.surroundings
        around = fits(self._cosines, surroundings.nearness)
        return fit_of(self._claim.words, self._claim.weights, around, surroundings)

    @cached_property
    def _numbers(self) -> tuple[float, float]:
        """`number_missing` and `number_astray`: the sentences most like the claim come first."""
        text, passage = self._claim.text, self._passage
        wanted, astray = set(figures(text)), 0.0
        for i in np.argsort(-self._likenesses, kind="stable").tolist():
            if not wanted:
                break
            missing = wanted.intersection(missing_figures(text, [passage.sentences[i]]))
            if missing < wanted:
                astray = self.likeness - float(self._likenesses[i])
            wanted = missing
        return float(bool(wanted and missing_figures(text, [passage.text]))), astray

    @cached_property
    def _denials(self) -> float:
        """How near a negation of the passage is to what the claim matches, 0 to 1.

        It is relative to the place of the passage that is nearest to that.
        """
        affirmed, body = self._claim.affirmed, self._passage.surroundings.body
        if not self._passage.negations or not body or not affirmed.any():
            return 0.0
        near = affirmed @ fits(self._cosines, self._passage.surroundings.nearness**NEARER)
        highest = float(near[body].max())
        return min(1.0, float(near[self._passage.negations].max()) / highest) ** SHARPNESS


def compare(claim: ReadClaim, passage: ReadPassage) -> Comparison | None:
    """Compares a claim with a passage; None if one of the two has no words."""
    if not passage.ranges or not claim.weights.any():
        return None
    return Comparison(claim, passage)


def _negations(text: str, tokens: TokenVectors) -> list[int]:
    """Returns the tokens with which negations begin, of those that the encoder has read."""
    starts = [match.start() for match in NEGATION.finditer(text)]
    found = np.searchsorted(tokens.spans[:, 1], starts, side="right")
    return [at for at in found.tolist() if at < len(tokens.spans)]


def _folded(text: str) -> str:
    """Returns its words between single spaces, without case and punctuation."""
    return " ".join(["", *_WORD.findall(text.lower()), ""])
