"""Measures how well passages support the claims of an answer, without a model to judge it."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import numpy as np

from generation.grounding.calibration import Regression
from generation.grounding.comparison import ReadClaim, ReadPassage, compare
from rag.protocols import SupportScorer, TokenEmbedder
from rag.text.passages import heading_text, passage_text
from rag.text.sentences import sentence_spans
from rag.types import Chunk, Float32Array, TokenVectors

WEIGHTS = Path(__file__).with_name("groundedness.json")
"""Written by `python -m eval.calibration.groundedness`; the file names the data it was fitted
on."""
IRRELEVANT = 0.02
"""Relevance below which the relations and details of a claim are not compared."""

KNOWN_PASSAGES = 32
"""Passages that are kept, of up to 0.7 MB: those of a few answers that are written at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundingModel:
    """The probability that a passage supports a claim: the product of three.

    Attributes:
        relevance: that the passage has the claim's subject; distinguishes a claim's own paragraph
            from others.
        relations: that the passage relates the parts of the claim so; distinguishes claims from
            those with another answer.
        details: that its numbers and negations are right; distinguishes claims from those with
            another number or another negation.
    """

    relevance: Regression
    relations: Regression
    details: Regression

    def probability(self, features: object) -> float:
        """Returns the probability that a passage supports a claim, from a `Comparison`.

        The relevance alone where it is below `IRRELEVANT`: the product is not higher.
        """
        relevance = self.relevance.probability(features)
        if relevance < IRRELEVANT:
            return relevance
        relations = self.relations.probability(features)
        return relevance * relations * self.details.probability(features)


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

    async def scores(self, claims: Sequence[str], chunks: Sequence[Chunk]) -> Float32Array:
        """Returns float32[claims, chunks], 0 to 1: the support of each claim by each passage.

        Raises:
            BusyError: Too many calls wait for the model.
            UpstreamError: The model failed.
        """


class Grounding:
    """Groundedness from token vectors, numbers and negations.

    The passages read last are kept: each sentence of an answer is compared with the same ones.
    """

    def __init__(self, embedder: TokenEmbedder, model: GroundingModel) -> None:
        self._embedder = embedder
        self._model = model
        self._known: OrderedDict[tuple[str, str], ReadPassage] = OrderedDict()

    async def score(self, claims: Sequence[str], chunks: Sequence[Chunk]) -> Float32Array:
        """Returns float32[claims], 0 to 1: the support of each claim by its best passage.

        1 if a passage has the claim word for word; 0 without passages.
        """
        return _best(await self.scores(claims, chunks))

    async def scores(self, claims: Sequence[str], chunks: Sequence[Chunk]) -> Float32Array:
        """Returns float32[claims, chunks], 0 to 1: the support of each claim by each passage."""
        claim_vectors, passages = await asyncio.gather(
            self._embedder.embed_tokens(claims, kind="query"), self._read(chunks)
        )
        return await asyncio.to_thread(self._scores, claims, claim_vectors, passages)

    async def _read(self, chunks: Sequence[Chunk]) -> list[ReadPassage]:
        """Returns the chunks with their data for comparison, those that are not known read anew."""
        keys = [(heading_text(chunk), chunk.text) for chunk in chunks]
        found = {key: self._known[key] for key in keys if key in self._known}
        new = {key: chunk for key, chunk in zip(keys, chunks, strict=True) if key not in found}
        texts = [passage_text(chunk) for chunk in new.values()]
        vectors = await self._embedder.embed_tokens(texts, kind="passage")
        for (key, chunk), tokens in zip(new.items(), vectors, strict=True):
            found[key] = ReadPassage(chunk, tokens)
        for key in keys:
            self._known[key] = found[key]
            self._known.move_to_end(key)
        while len(self._known) > KNOWN_PASSAGES:
            self._known.popitem(last=False)
        return [found[key] for key in keys]

    def _scores(
        self,
        claims: Sequence[str],
        claim_vectors: Sequence[TokenVectors],
        passages: Sequence[ReadPassage],
    ) -> Float32Array:
        scores = np.zeros((len(claims), len(passages)), np.float32)
        for i, (text, tokens) in enumerate(zip(claims, claim_vectors, strict=True)):
            claim = ReadClaim(text, tokens)
            scores[i] = [self._support(claim, passage) for passage in passages]
        return scores

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
        """Returns float32[claims, chunks], 0 to 1: the support of each claim by each passage.

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
