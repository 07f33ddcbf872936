"""Compares a claim with a passage by token vectors, numbers and negations."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cached_property

import numpy as np

from generation.grounding.answer_fit import Answer, AnswerFit, QuestionFit
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
    *("answers", "answer_astray", "answer_rivals", "answer_standing"),
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
        self._chunk = chunk
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
        self._asked: QuestionFit | None = None

    @cached_property
    def rest(self) -> Chunk | None:
        """The chunk from the last sentence on that the encoder has read whole, if it was cut.

        None if all of it was read, or if the titles fill the window: they would again. A sentence
        longer than the window is not read to its end.
        """
        if not self.ranges:
            return None
        read = int(self._tokens.spans[-1, 1]) if len(self._tokens.spans) else 0
        if not _WORD.search(self.text, read):
            return None
        edge = read - len(heading_text(self._chunk))
        spans = sentence_spans(self._chunk.text)
        first = max(1, sum(end <= edge for _, end in spans) - 1)
        if first >= len(spans):
            return None
        start = spans[first][0]
        return replace(self._chunk, text=self._chunk.text[start:], start=self._chunk.start + start)

    @cached_property
    def surroundings(self) -> Surroundings:
        """Its words and the distances between them."""
        return Surroundings(self.text, self._tokens, self.ranges)

    @cached_property
    def closeness(self) -> Float32Array:
        """float32[tokens, tokens]: the nearness of a negation to a word, 1 on the diagonal."""
        closeness: Float32Array = self.surroundings.nearness**NEARER
        return closeness

    @cached_property
    def negations(self) -> list[int]:
        """The tokens with which negations begin."""
        return _negations(self.text, self._tokens)

    def nearest(self, cosines: Float32Array) -> Float32Array:
        """Returns float32[tokens, sentences]: the best cosine with a sentence or the titles above.

        `cosines` is float32[tokens, passage tokens].
        """
        titles = cosines[:, : self.titles_end].max(axis=1, initial=-1.0)
        near = np.stack([cosines[:, a:b].max(axis=1) for a, b in self.ranges], axis=1)
        nearest: Float32Array = np.maximum(near, titles[:, None])
        return nearest

    def asked(self, question: ReadClaim) -> QuestionFit:
        """Returns how well a question fits; that of the last one is remembered."""
        fit = self._asked
        if fit is None or fit.question is not question:
            fit = self._asked = QuestionFit(question, self)
        return fit

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

    def __init__(
        self, claim: ReadClaim, passage: ReadPassage, answer: Answer | None = None
    ) -> None:
        self._claim = claim
        self._passage = passage
        self._answer = AnswerFit(answer, passage) if answer else None
        self._cosines = product(claim.vectors, passage.vectors)
        near = passage.nearest(self._cosines)
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

        A negation there counts from 0, far from them, to 1. `AnswerFit.negations` are not counted.
        """
        count = len(self._claim.negations)
        given = self._answer.negations if self._answer else 0
        return max(0.0, min(count - sum(self._denials[:count]), count - given))

    @property
    def denied(self) -> float:
        """How much more of a negation the passage has there than the claim.

        1 if the claim leaves one of `AnswerFit.negations` out.
        """
        if self._answer and self._answer.negations > len(self._claim.negations):
            return 1.0
        return max(0.0, sum(self._denials[:1]) - len(self._claim.negations))

    @property
    def answers(self) -> bool:
        """True if the claim restates the question, with other words as its answer."""
        return self._answer is not None

    @property
    def answer_astray(self) -> float:
        """`AnswerFit.astray`; 0 if the claim does not restate the question."""
        return self._answer.astray if self._answer else 0.0

    @property
    def answer_rivals(self) -> float:
        """`AnswerFit.rivals`; 0 if the claim does not restate the question."""
        return self._answer.rivals if self._answer else 0.0

    @property
    def answer_standing(self) -> float:
        """`AnswerFit.standing`; 0 if the claim does not restate the question."""
        return self._answer.standing if self._answer else 0.0

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
    def _denials(self) -> list[float]:
        """How near each negation of the passage is to what the claim matches, 0 to 1, descending.

        It is relative to the place of the passage that is nearest to that.
        """
        affirmed, body = self._claim.affirmed, self._passage.surroundings.body
        if not self._passage.negations or not body or not affirmed.any():
            return []
        near = affirmed @ fits(self._cosines, self._passage.closeness)
        highest = float(near[body].max())
        denials = near[self._passage.negations].tolist()
        return sorted((min(1.0, d / highest) ** SHARPNESS for d in denials), reverse=True)


def compare(
    claim: ReadClaim, passage: ReadPassage, answer: Answer | None = None
) -> Comparison | None:
    """Compares a claim, and its answer to a question, with a passage.

    None if claim or passage have no words.
    """
    if not passage.ranges or not claim.weights.any():
        return None
    return Comparison(claim, passage, answer)


def _negations(text: str, tokens: TokenVectors) -> list[int]:
    """Returns the tokens with which negations begin, of those that the encoder has read."""
    starts = [match.start() for match in NEGATION.finditer(text)]
    found = np.searchsorted(tokens.spans[:, 1], starts, side="right")
    return [at for at in found.tolist() if at < len(tokens.spans)]


def _folded(text: str) -> str:
    """Returns its words between single spaces, without case and punctuation."""
    return " ".join(["", *_WORD.findall(text.lower()), ""])
