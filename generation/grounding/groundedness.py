"""Measures how well passages support the claims of an answer, without a model to judge it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from generation.grounding.calibration import Regression
from rag.inference.arithmetic import product
from rag.protocols import SupportScorer, TokenEmbedder
from rag.text.passages import heading_text, passage_text, token_ranges
from rag.text.sentences import sentence_spans
from rag.types import Chunk, Float32Array, TokenVectors

WEIGHTS = Path(__file__).with_name("groundedness.json")
"""Written by `python -m eval.calibration.groundedness`; the file names the data it was fitted
on."""
REACH = 15
"""Distance in tokens at which the neighbourhood of a token counts 1/e: less than a sentence."""
SHARPNESS = 4
"""Power of a cosine that is counted: two tokens of one language are seldom below 0.2."""
ASIDE = 3
"""Tokens of a claim at most this far apart may belong to one name."""

_WORD = re.compile(r"\w+")
_DIGITS = re.compile(r"\d+(?:[.,]\d+)*")
_TO_NINETEEN = (
    *("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SPELLED = {word: str(n) for n, word in enumerate(_TO_NINETEEN, 2)} | {
    word: str(10 * n) for n, word in enumerate(_TENS, 2)
}
"""Small numbers in English words. "One" is a pronoun more often than a number."""
_NEGATION = re.compile(
    r"\b(?:not?|never|none|nor|neither|without|cannot|nothing|nobody)\b|n['’]t\b", re.IGNORECASE
)
"""English words of negation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A claim compared with a passage. A token's weight is its number of letters and digits.

    Attributes:
        likeness: late interaction of the claim with the sentence that is most like it and the
            titles above it: the mean over the claim's tokens of the best cosine, -1 to 1.
        astray: how much better its tokens are matched elsewhere in the passage than there, the mean
            of the differences of cosines, 0 to 2.
        together: how well the rest of the claim is matched around the places where its tokens are
            matched, 0 to 1.
        number_missing: 1 if the claim has a number that the passage has not, else 0.
        number_astray: 1 if it has a number that the sentence has not, else 0.
        negated: 1 if it has a negation and the sentence has none, else 0.
    """

    likeness: float
    astray: float
    together: float
    number_missing: float
    number_astray: float
    negated: float


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
        self.numbers = _numbers(text)
        self.negated = _NEGATION.search(text) is not None

    @cached_property
    def others(self) -> Float32Array:
        """float32[tokens, tokens]: for each token, the weights of the tokens not beside it.

        Rows sum to 1, or to 0 if there are none.
        """
        order = np.arange(len(self.weights))
        far = self.weights * (np.abs(order[:, None] - order) > ASIDE)
        total = far.sum(axis=1, keepdims=True)
        shares: Float32Array = far / np.where(total > 0, total, 1)
        return shares


class ReadPassage:
    """A chunk, with its data for comparison.

    `vectors` is float32[tokens, dim], the first `titles_end` of them the titles'. `ranges` are the
    tokens of each sentence that the encoder has read, `sentences` its text below the titles.
    """

    def __init__(self, chunk: Chunk, tokens: TokenVectors) -> None:
        self.vectors = tokens.vectors
        self._folded = _folded(passage_text(chunk))
        self.numbers = _numbers(passage_text(chunk))
        spans = sentence_spans(chunk.text)
        ranges = token_ranges(tokens, chunk, spans)
        self.titles_end = ranges[0][0] if ranges else 0
        above = heading_text(chunk)
        read = [
            (range_, above + chunk.text[start:end])
            for (start, end), range_ in zip(spans, ranges, strict=True)
            if range_[0] < range_[1]  # not past the encoder's window
        ]
        self.ranges = [range_ for range_, _ in read]
        self.sentences = [text for _, text in read]

    def quoted(self, claim: str) -> bool:
        """True if the passage has all of the claim's words in one piece."""
        words = _folded(claim)
        return bool(words.strip()) and words in self._folded


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundingModel:
    """P(supported) = P(the passage has the claim's subject) x P(it says so, if it has the subject).

    Attributes:
        relevance: distinguishes a claim's own paragraph from others.
        agreement: distinguishes claims from changed claims, beside their own paragraph.
    """

    relevance: Regression
    agreement: Regression

    def probability(self, comparison: Comparison) -> float:
        """Returns the probability that a passage supports a claim with this comparison."""
        return self.relevance.probability(comparison) * self.agreement.probability(comparison)


def load_grounding(path: Path = WEIGHTS) -> GroundingModel:
    """Reads the file that `eval.calibration.groundedness` wrote."""
    record = json.loads(path.read_bytes())
    return GroundingModel(
        relevance=Regression(**record["relevance"]), agreement=Regression(**record["agreement"])
    )


class ClaimScorer(Protocol):
    """Scores how well passages support claims."""

    async def score(self, claims: Sequence[str], chunks: Sequence[Chunk]) -> Float32Array:
        """Returns float32[claims], 0 to 1: the support by the best passage; 0 without passages.

        Raises:
            BusyError: Too many calls wait for the model.
            UpstreamError: The model failed.
        """

    async def scores(self, claims: Sequence[str], chunks: Sequence[Chunk]) -> Float32Array:
        """Returns float32[claims, chunks], 0 to 1: the support by each passage.

        Raises:
            BusyError: Too many calls wait for the model.
            UpstreamError: The model failed.
        """


class Grounding:
    """Groundedness from token vectors, numbers and negations."""

    def __init__(self, embedder: TokenEmbedder, model: GroundingModel) -> None:
        self._embedder = embedder
        self._model = model

    async def score(self, claims: Sequence[str], chunks: Sequence[Chunk]) -> Float32Array:
        """Returns float32[claims], 0 to 1: the support of each claim by its best passage.

        1 if a passage has the claim word for word; 0 without passages.
        """
        return _best(await self.scores(claims, chunks))

    async def scores(self, claims: Sequence[str], chunks: Sequence[Chunk]) -> Float32Array:
        """Returns float32[claims, chunks], 0 to 1: the support of each claim by each passage."""
        claim_vectors, read = await asyncio.gather(
            self._embedder.embed_tokens(claims, kind="query"),
            self._embedder.embed_tokens([passage_text(c) for c in chunks], kind="passage"),
        )
        return await asyncio.to_thread(self._score, claims, claim_vectors, chunks, read)

    def _score(
        self,
        claims: Sequence[str],
        claim_vectors: Sequence[TokenVectors],
        chunks: Sequence[Chunk],
        read: Sequence[TokenVectors],
    ) -> Float32Array:
        passages = [ReadPassage(c, tokens) for c, tokens in zip(chunks, read, strict=True)]
        asserted = [ReadClaim(c, tokens) for c, tokens in zip(claims, claim_vectors, strict=True)]
        scores = [[self._support(claim, passage) for passage in passages] for claim in asserted]
        return np.array(scores, np.float32).reshape(len(claims), len(chunks))

    def _support(self, claim: ReadClaim, passage: ReadPassage) -> float:
        if passage.quoted(claim.text):
            return 1.0
        comparison = compare(claim, passage)
        return self._model.probability(comparison) if comparison else 0.0


class EntailedGrounding:
    """Groundedness by the scorer of citations: an entailment model, if the settings name one.

    A claim is compared with each sentence, and the best one counts: SummaC's zero-shot variant
    (Laban et al. 2022, https://arxiv.org/abs/2111.09525).
    """

    def __init__(self, support: SupportScorer) -> None:
        self._support = support

    async def score(self, claims: Sequence[str], chunks: Sequence[Chunk]) -> Float32Array:
        """Same as `Grounding.score`, except that a quote does not score 1 by itself.

        Raises:
            BusyError: Too many calls wait for the model.
            UpstreamError: The model failed.
        """
        return _best(await self.scores(claims, chunks))

    async def scores(self, claims: Sequence[str], chunks: Sequence[Chunk]) -> Float32Array:
        """Returns float32[claims, chunks], 0 to 1: the support of each claim by each passage."""
        scores = [  # claim by claim: requests that people wait for come in between
            await asyncio.gather(*(self._best(claim, c) for c in chunks)) for claim in claims
        ]
        return np.array(scores, np.float32).reshape(len(claims), len(chunks))

    async def _best(self, claim: str, chunk: Chunk) -> float:
        scores = await self._support.score(claim, chunk, sentence_spans(chunk.text))
        return float(scores.max(initial=0.0))


def _best(scores: Float32Array) -> Float32Array:
    """Returns float32[claims]: the best of float32[claims, passages], 0 without passages."""
    best: Float32Array = scores.max(axis=1, initial=0.0)
    return best


def compare(claim: ReadClaim, passage: ReadPassage) -> Comparison | None:
    """Compares a claim with a passage; None if one of the two has no words."""
    if not passage.ranges or not claim.weights.any():
        return None
    cosines = product(claim.vectors, passage.vectors)
    titles = cosines[:, : passage.titles_end].max(axis=1, initial=-1.0)
    near = np.stack([cosines[:, a:b].max(axis=1) for a, b in passage.ranges], axis=1)
    near = np.maximum(near, titles[:, None])  # [claim tokens, sentences]
    likeness = claim.weights @ near
    best = int(np.argmax(likeness))
    sentence = passage.sentences[best]
    return Comparison(
        likeness=float(likeness[best]),
        astray=float(claim.weights @ (near.max(axis=1) - near[:, best])),
        together=_together(cosines, claim),
        number_missing=float(not claim.numbers <= passage.numbers),
        number_astray=float(not claim.numbers <= _numbers(sentence)),
        negated=float(claim.negated and _NEGATION.search(sentence) is None),
    )


def _together(cosines: Float32Array, claim: ReadClaim) -> float:
    """Returns `Comparison.together`: a replaced word fits the rest of its sentence badly.

    How well a token is matched around a place is the best of cosine^SHARPNESS x exp(-distance /
    REACH), distances in tokens. In logarithms that is a running maximum from either side.

    Args:
        cosines: float32[claim tokens, passage tokens].
        claim: the claim of these tokens.
    """
    places = np.arange(cosines.shape[1], dtype=np.float32) / REACH
    matched = SHARPNESS * np.log(np.maximum(cosines, np.finfo(np.float32).tiny))
    before = np.maximum.accumulate(matched + places, axis=1) - places
    after = np.maximum.accumulate((matched - places)[:, ::-1], axis=1)[:, ::-1] + places
    around = np.exp(np.maximum(before, after))
    at = cosines.argmax(axis=1)
    return float(claim.weights @ (claim.others * around[:, at].T).sum(axis=1))


def _numbers(text: str) -> set[str]:
    """Returns numbers without thousands separators, and small English number words as digits."""
    digits = {re.sub(r"\D", "", number) for number in _DIGITS.findall(text)}
    return digits | {_SPELLED[w] for w in _WORD.findall(text.lower()) if w in _SPELLED}


def _folded(text: str) -> str:
    """Returns its words between single spaces, without case and punctuation."""
    return " ".join(["", *_WORD.findall(text.lower()), ""])
