"""Scores how well a sentence of a passage supports a claim of an answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from rag.inference.arithmetic import product
from rag.protocols import TokenEmbedder
from rag.text.passages import passage_text, token_ranges
from rag.types import Chunk, Float32Array, Span

GRAM = 3
"""Characters compared at a time: endings matter little, and no language needs a word list."""

_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+")


class BlendedSupport:
    """`SupportScorer` without weights of its own: shared characters, and shared meaning.

    Half of it is the share of the claim's character trigrams that the sentence has, half late
    interaction (Khattab & Zaharia 2020, https://arxiv.org/abs/2004.12832) of their tokens; all of
    it times the share of the claim's numbers that the sentence has.
    """

    def __init__(self, embedder: TokenEmbedder) -> None:
        self._embedder = embedder

    async def score(self, claim: str, chunk: Chunk, spans: Sequence[Span]) -> Float32Array:
        """Returns float32[spans], 0 to 1."""
        (asserted,), (passage,) = await asyncio.gather(
            self._embedder.embed_tokens([claim], kind="query"),
            self._embedder.embed_tokens([passage_text(chunk)], kind="passage"),
        )
        cosines = product(asserted.vectors, passage.vectors)
        ranges = token_ranges(passage, chunk, spans)
        scores = [
            shared_numbers(claim, text) * (shared_grams(claim, text) + _mean_of_best(near)) / 2
            for text, near in (
                (chunk.text[start:end], cosines[:, first:last])
                for (start, end), (first, last) in zip(spans, ranges, strict=True)
            )
        ]
        return np.array(scores, np.float32)


def shared_grams(claim: str, text: str) -> float:
    """Returns the share of the claim's character trigrams, inside words, that the text has."""
    wanted = _grams(claim)
    folded = f" {' '.join(_WORD.findall(text.lower()))} "
    return sum(gram in folded for gram in wanted) / len(wanted) if wanted else 1.0


def shared_numbers(claim: str, text: str) -> float:
    """Returns the share of the claim's numbers that the text has; 1 if there are none."""
    return _share(set(_NUMBER.findall(claim)), set(_NUMBER.findall(text)))


def _mean_of_best(cosines: Float32Array) -> float:
    """Returns late interaction from cosines; 0 for a sentence past the encoder's window."""
    return max(0.0, float(cosines.max(axis=1).mean())) if cosines.size else 0.0


@lru_cache(maxsize=64)
def _grams(text: str) -> frozenset[str]:
    """Returns a claim's trigrams; it is compared with many sentences."""
    padded = (f" {word} " for word in _WORD.findall(text.lower()))
    return frozenset(word[i : i + GRAM] for word in padded for i in range(len(word) - GRAM + 1))


def _share(wanted: set[str], found: set[str]) -> float:
    return len(wanted & found) / len(wanted) if wanted else 1.0
