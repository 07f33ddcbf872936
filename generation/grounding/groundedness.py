"""Measures how well passages support the claims of an answer, without a model to judge it."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from operator import itemgetter
from pathlib import Path
from typing import Protocol

import numpy as np

from generation.grounding.answer_fit import answer_of
from generation.grounding.calibration import Regression
from generation.grounding.comparison import Comparison, ReadClaim, ReadPassage, compare
from rag.protocols import SupportScorer, TokenEmbedder
from rag.text.passages import heading_text, passage_text
from rag.text.sentences import sentence_spans
from rag.types import Chunk, Float32Array, TokenVectors

WEIGHTS = Path(__file__).with_name("groundedness.json")
"""Written by `python -m eval.calibration.groundedness`; the file names the data it was fitted
on."""
IRRELEVANT = 0.02
"""Relevance below which the relations and details of a claim are not compared."""

Parts = Sequence[ReadPassage]
"""The parts of a chunk, each short enough for the encoder's window; mostly one."""
MOST_PARTS = 16
"""Parts of a chunk that are read, one after another: long titles leave a part few sentences."""

KNOWN_PARTS = 64
"""Parts of passages that are kept: those of a few answers that are written at once.

One of 256 tokens takes 0.9 MB: its vectors, and the distances of its words and of negations.
"""
KNOWN_QUESTIONS = 8
"""Questions that are kept, of up to 0.4 MB each."""


class Compared(Protocol):
    """A comparison, or its features under their names."""

    @property
    def answers(self) -> bool:
        """True if the claim restates the question, with other words as its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundingModel:
    """The probability that a passage supports a claim: the product of three.

    Attributes:
        relevance: that the passage has the claim's subject; distinguishes a claim's own paragraph
            from others.
        relations: that the passage relates the parts of the claim so; distinguishes claims from
            those with another answer.
        answers: the same for a claim that restates the question, whose answer is known then.
        details: that its numbers and negations are right; distinguishes claims from those with
            another number or another negation.
    """

    relevance: Regression
    relations: Regression
    answers: Regression
    details: Regression

    def probability(self, features: Compared, best: float = 0.0) -> float:
        """Returns the probability that a passage supports a claim, from a `Comparison`.

        The relevance alone where it is below `IRRELEVANT`, or below the probability of the `best`
        other passage: the product is not higher.
        """
        relevance = self.relevance.probability(features)
        if relevance < max(IRRELEVANT, best):
            return relevance
        parts = self.answers if features.answers else self.relations
        return relevance * parts.probability(features) * self.details.probability(features)


def load_grounding(path: Path = WEIGHTS) -> GroundingModel:
    """Reads the file that `eval.calibration.groundedness` wrote."""
    record = json.loads(path.read_bytes())
    return GroundingModel(
        **{field.name: Regression(**record[field.name]) for field in fields(GroundingModel)}
    )


class ClaimScorer(Protocol):
    """Scores how well passages support claims."""

    async def score(self, claims: Sequence[str], chunks: Sequence[Chunk]) -> Float32Array:
        """Returns float32[claims], 0 to 1: the support by the best passage; 0 without passages.

        Raises:
            BusyError: Too many calls wait for the model.
            UpstreamError: The model failed.
        """

    async def scores(
        self, claims: Sequence[str], chunks: Sequence[Chunk], *, question: str = ""
    ) -> Float32Array:
        """Returns float32[claims, chunks], 0 to 1: the support of each claim by each passage.

        Where another passage supports a claim better, it may be an upper bound. `question` is the
        one that the claims answer, if there is one.

        Raises:
            BusyError: Too many calls wait for the model.
            UpstreamError: The model failed.
        """


class Grounding:
    """Groundedness from token vectors, numbers and negations.

    The passages and questions read last are kept: they are the same for each sentence of an answer.
    """

    def __init__(self, embedder: TokenEmbedder, model: GroundingModel) -> None:
        self._embedder = embedder
        self._model = model
        self._known: OrderedDict[tuple[str, str], Parts] = OrderedDict()
        self._asked: OrderedDict[str, ReadClaim] = OrderedDict()

    async def score(self, claims: Sequence[str], chunks: Sequence[Chunk]) -> Float32Array:
        """Returns float32[claims], 0 to 1: the support of each claim by its best passage.

        1 if a passage has the claim word for word; 0 without passages.
        """
        return _best(await self.scores(claims, chunks))

    async def scores(
        self, claims: Sequence[str], chunks: Sequence[Chunk], *, question: str = ""
    ) -> Float32Array:
        """Returns float32[claims, chunks], 0 to 1: the support of each claim by each passage.

        An upper bound, the relevance, where another passage supports it better. Of a claim that
        restates the question, the words that it adds have to stand where a passage answers it.
        """
        asked = self._asked.get(question)
        texts = [*claims, question] if question and asked is None else claims
        vectors, passages = await asyncio.gather(
            self._embedder.embed_tokens(texts, kind="query"), self._read(chunks)
        )
        # In a thread: a question of 16,000 characters takes milliseconds.
        read = await asyncio.to_thread(_read_claims, texts, vectors)
        if question:
            asked = asked or read.pop()
            self._remember(question, asked)
        return await asyncio.to_thread(self._scores, read, passages, asked)

    def _remember(self, question: str, read: ReadClaim) -> None:
        self._asked[question] = read
        self._asked.move_to_end(question)
        while len(self._asked) > KNOWN_QUESTIONS:
            self._asked.popitem(last=False)

    async def _read(self, chunks: Sequence[Chunk]) -> Sequence[Parts]:
        """Returns the chunks with their data for comparison, those that are not known read anew.

        All of them are kept, and of others as many as `KNOWN_PARTS` leaves room for.
        """
        keys = [(heading_text(chunk), chunk.text) for chunk in chunks]
        found = {key: self._known[key] for key in keys if key in self._known}
        new = {key: chunk for key, chunk in zip(keys, chunks, strict=True) if key not in found}
        found |= zip(new, await read_parts(self._embedder, [*new.values()]), strict=True)
        for key in keys:
            self._known[key] = found[key]
            self._known.move_to_end(key)
        parts = sum(map(len, self._known.values()))
        while parts > KNOWN_PARTS and len(self._known) > len(found):
            parts -= len(self._known.popitem(last=False)[1])
        return [found[key] for key in keys]

    def _scores(
        self, claims: Sequence[ReadClaim], passages: Sequence[Parts], question: ReadClaim | None
    ) -> Float32Array:
        scores = np.zeros((len(claims), len(passages)), np.float32)
        for row, claim in zip(scores, claims, strict=True):
            answer = answer_of(claim, question)
            compared: list[tuple[float, int, Comparison]] = []
            for place, parts in enumerate(passages):
                if any(part.quoted(claim.text) for part in parts):
                    row[place] = 1.0
                    continue
                found = (compare(claim, part, answer) for part in parts)
                compared += [(each.likeness, place, each) for each in found if each]
            # The likeliest come first: others then take less time.
            for _, place, comparison in sorted(compared, key=itemgetter(0), reverse=True):
                probability = self._model.probability(comparison, best=float(row.max()))
                row[place] = max(row[place], probability)
        return scores


def _read_claims(texts: Sequence[str], vectors: Sequence[TokenVectors]) -> list[ReadClaim]:
    return [*map(ReadClaim, texts, vectors)]


async def read_parts(embedder: TokenEmbedder, chunks: Sequence[Chunk]) -> Sequence[Parts]:
    """Returns chunks with their data for comparison, in the parts that the encoder can read.

    Of a chunk with more than `MOST_PARTS`, the first are returned.
    """
    found: list[list[ReadPassage]] = [[] for _ in chunks]
    unread = dict(enumerate(chunks))
    for _ in range(MOST_PARTS):
        if not unread:
            break
        texts = [passage_text(chunk) for chunk in unread.values()]
        vectors = await embedder.embed_tokens(texts, kind="passage")
        read = await asyncio.to_thread(_read_passages, [*unread.values()], vectors)
        for place, (passage, _) in zip(unread, read, strict=True):
            found[place].append(passage)
        unread = {place: rest for place, (_, rest) in zip(unread, read, strict=True) if rest}
    return found


def _read_passages(
    chunks: Sequence[Chunk], vectors: Sequence[TokenVectors]
) -> list[tuple[ReadPassage, Chunk | None]]:
    """Returns each chunk with its data, and its rest that the encoder has not read."""
    passages = map(ReadPassage, chunks, vectors)
    return [(passage, passage.rest) for passage in passages]


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

    async def scores(
        self, claims: Sequence[str], chunks: Sequence[Chunk], *, question: str = ""
    ) -> Float32Array:
        """Returns float32[claims, chunks], 0 to 1: the support of each claim by each passage.

        `question` is the one that the claims answer, if there is one.

        Raises:
            BusyError: Too many calls wait for the model.
            UpstreamError: The model failed.
        """
        scores = np.zeros((len(claims), len(chunks)), np.float32)
        for i, claim in enumerate(claims):  # requests that people wait for come in between
            scores[i] = await asyncio.gather(*(self._sentences(claim, c) for c in chunks))
        return scores

    async def _sentences(self, claim: str, chunk: Chunk) -> float:
        scores = await self._support.score(claim, chunk, sentence_spans(chunk.text))
        return float(scores.max(initial=0.0))


def _best(scores: Float32Array) -> Float32Array:
    """Returns float32[claims] for float32[claims, chunks]: the highest, 0 without chunks."""
    best: Float32Array = scores.max(axis=1, initial=0.0)
    return best
