"""Answers made of the passages' own sentences, verbatim and cited: no model, nothing made up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from generation.calibration import Calibration
from generation.citations import escape_markers
from generation.evidence import Evidence, EvidenceFinder, Sentence
from rag.protocols import Index, SparseEncoder, TokenEmbedder
from rag.types import Delta, Prompt, Reason


class ExtractiveGenerator:
    """`Generator` that answers with at most three sentences, or says that it cannot."""

    def __init__(
        self,
        *,
        embedder: TokenEmbedder,
        encoder: SparseEncoder,
        index: Index,
        calibration: Calibration,
        threshold: float | None = None,
    ) -> None:
        """Make a generator.

        Args:
            embedder: encodes question and passages, token by token.
            encoder: makes the terms that `index` knows the IDF of.
            index: holds the collection that the passages come from.
            calibration: turns evidence into confidence.
            threshold: confidence below which it abstains; the calibration's own if None.
        """
        self._finder = EvidenceFinder(embedder=embedder, encoder=encoder, index=index)
        self._calibration = calibration
        self._threshold = calibration.threshold if threshold is None else threshold

    async def stream(self, prompt: Prompt) -> AsyncIterator[Delta]:
        """One delta for each sentence with its marker, then one with the confidence.

        Sentences of one passage stay together and in its order; the passage with the best
        sentence comes first.
        """
        if not prompt.hits:
            yield Delta(confidence=0.0, abstained="no_documents")
            return
        evidence = await self._finder.find(prompt)
        if evidence is None:
            yield Delta(confidence=0.0, abstained="no_match")
            return
        confidence = self._calibration.probability(evidence.features)
        if confidence < self._threshold:
            reason: Reason = "weak_evidence" if evidence.features.coverage else "no_match"
            yield Delta(confidence=confidence, abstained=reason)
            return
        gap = ""
        for sentence in _reading_order(evidence):
            yield Delta(text=gap + _cited(sentence, prompt))
            gap = " "
        yield Delta(confidence=confidence)


def _reading_order(evidence: Evidence) -> Iterator[Sentence]:
    places = dict.fromkeys(sentence.place for sentence in evidence.sentences)
    for place in places:
        inside = (s for s in evidence.sentences if s.place == place)
        yield from sorted(inside, key=lambda s: s.start)


def _cited(sentence: Sentence, prompt: Prompt) -> str:
    quote = prompt.hits[sentence.place].chunk.text[sentence.start : sentence.end]
    return f"{escape_markers(' '.join(quote.split()))} [{sentence.place + 1}]"
