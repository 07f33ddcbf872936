"""Compares a claim with a passage by token vectors, numbers and negations."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from generation.grounding.phrases import Surroundings, fit_of, fits, read_words
from rag.inference.arithmetic import product
from rag.text.figures import figures
from rag.text.passages import heading_text, passage_text, token_ranges
from rag.text.sentences import sentence_spans
from rag.text.stated_figures import missing_figures
from rag.types import Chunk, Float32Array, TokenVectors

NEARER = 2.5
"""Power of nearness at which a negation belongs to a word: a reach of eight words."""

_WORD = re.compile(r"\w+")
_NEGATION = re.compile(
    r"\b(?:not?|never|none|nor|neither|without|cannot|nothing|nobody|non"
    r"|nicht|kein\w*|nie|niemals|ohne|weder|pas|jamais|sans|nunca|jamás|ning[uú]n\w*|nadie)\b"
    r"|n['’]t\b",
    re.IGNORECASE,
)
"""Words of negation in English, German, French and Spanish, without those that English has too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A claim compared with a passage. A token's weight is its number of letters and digits.

    Attributes:
        likeness: late interaction of the claim with the sentence that is most like it and the
            titles above it: the mean over the claim's tokens of the best cosine, -1 to 1.
        astray: how much better its tokens are matched elsewhere in the passage than there, the mean
            of the differences of cosines, 0 to 2.
        rivals: `Fit.rivals`.
        number_rivals: `Fit.number_rivals`.
        standing: `Fit.standing`.
        number_missing: 1 if the claim has a number that the passage has not, else 0.
        number_astray: how much less like the claim the sentences are that have a number of it: the
            largest difference over its numbers, 0 for those that no sentence has.
        negated: how many negations it has more than the passage has near the words that the claim
            matches; a negation there counts from 0, far from them, to 1.
        denied: how much more of a negation the passage has there than the claim.
    """

    likeness: float
    astray: float
    rivals: float
    number_rivals: float
    standing: float
    number_missing: float
    number_astray: float
    negated: float
    denied: float


class ReadClaim:
    """A claim, with its data for comparison.

    `vectors` is float32[tokens, dim]; `weights` is float32[tokens] and sums to 1, or to 0 where the
    claim has neither letters nor digits.
    """

    def __init__(self, text: str, tokens: TokenVectors) -> None:
        self.text = text
        self.vectors = tokens.vectors
        letters = [sum(map(str.isalnum, text[start:end])) for start, end in tokens.spans]
        self.weights = np.array(letters, np.float32) / max(1, sum(letters))
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

    `vectors` is float32[tokens, dim]. `ranges` are the tokens of each sentence that the encoder has
    read, `sentences` its text below the titles. `negations` are tokens.
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
        self.surroundings = Surroundings(self.text, tokens, self.ranges)
        self.negations = _negations(self.text, tokens)

    def quoted(self, claim: str) -> bool:
        """True if the passage has all of the claim's words in one piece."""
        words = _folded(claim)
        return bool(words.strip()) and words in self._folded


def compare(claim: ReadClaim, passage: ReadPassage) -> Comparison | None:
    """Compares a claim with a passage; None if one of the two has no words."""
    if not passage.ranges or not claim.weights.any():
        return None
    cosines = product(claim.vectors, passage.vectors)
    titles = cosines[:, : passage.surroundings.titles_end].max(axis=1, initial=-1.0)
    near = np.stack([cosines[:, a:b].max(axis=1) for a, b in passage.ranges], axis=1)
    near = np.maximum(near, titles[:, None])  # [claim tokens, sentences]
    likeness = claim.weights @ near
    best = int(np.argmax(likeness))
    around = fits(cosines, passage.surroundings.nearness)
    fit = fit_of(claim.words, claim.weights, around, passage.surroundings)
    nots, denials = len(claim.negations), _denials(claim, passage, cosines)
    return Comparison(
        likeness=float(likeness[best]),
        astray=float(claim.weights @ (near.max(axis=1) - near[:, best])),
        rivals=fit.rivals,
        number_rivals=fit.number_rivals,
        standing=fit.standing,
        number_missing=_number_missing(claim, passage),
        number_astray=_number_astray(claim, passage, likeness),
        negated=max(0.0, nots - denials),
        denied=max(0.0, denials - nots),
    )


def _number_missing(claim: ReadClaim, passage: ReadPassage) -> float:
    return float(bool(figures(claim.text) and missing_figures(claim.text, [passage.text])))


def _number_astray(claim: ReadClaim, passage: ReadPassage, likeness: Float32Array) -> float:
    """Returns `Comparison.number_astray`.

    Args:
        claim: the claim.
        passage: the passage.
        likeness: float32[sentences] to the claim.
    """
    astray = 0.0
    wanted = figures(claim.text)
    best, *others = np.argsort(-likeness, kind="stable").tolist()
    for i in (best, *others):
        if not wanted:
            break
        missing = missing_figures(claim.text, [passage.sentences[i]])
        if any(figure not in missing for figure in wanted):
            astray = float(likeness[best] - likeness[i])
        wanted = tuple(figure for figure in wanted if figure in missing)
    return astray


def _denials(claim: ReadClaim, passage: ReadPassage, cosines: Float32Array) -> float:
    """Returns how near a negation of the passage is to what the claim matches, 0 to 1.

    It is relative to the place of the passage that is nearest to that.
    """
    if not passage.negations or not passage.surroundings.body:
        return 0.0
    near = claim.affirmed @ fits(cosines, passage.surroundings.nearness**NEARER)
    highest = float(near[passage.surroundings.body].max())
    return min(1.0, float(near[passage.negations].max()) / highest) if highest > 0 else 0.0


def _negations(text: str, tokens: TokenVectors) -> list[int]:
    """Returns the tokens with which negations begin, of those that the encoder has read."""
    starts = [match.start() for match in _NEGATION.finditer(text)]
    found = np.searchsorted(tokens.spans[:, 1], starts, side="right")
    return [at for at in found.tolist() if at < len(tokens.spans)]


def _folded(text: str) -> str:
    """Returns its words between single spaces, without case and punctuation."""
    return " ".join(["", *_WORD.findall(text.lower()), ""])
