"""Counts terms of texts and computes BM25 weights from the counts."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from qdrant_edge import Bm25, Bm25Config

from rag.records import TERMS
from rag.text.folding import folded
from rag.text.identifiers import identifier_terms
from rag.text.unspaced import SOUTH_EAST_BLOCKS, UNSPACED
from rag.types import Float32Array, SparseVector

K1 = 1.2
"""K1, the saturation of term frequency, and B, the strength of length normalisation: the values of
Robertson et al. 1994 (Okapi at TREC-3), https://trec.nist.gov/pubs/trec3/papers/city.ps.gz."""
B = 0.75
MEAN_STEPS = 32
"""Steps to which mean lengths are rounded: a 32nd of the next power of two, 3 to 6 % each."""
TIES = 16
"""Matches that a sparse leg requests beyond its limit. Engines break ties at the limit differently;
if no more than these are equal, all keep the first by chunk id."""
_MARKS = [
    char
    for first, last in SOUTH_EAST_BLOCKS
    for char in map(chr, range(first, last + 1))
    if unicodedata.category(char) in ("Mn", "Mc")
]
_MARK_LETTERS = {ord(mark): chr(0x12000 + n) for n, mark in enumerate(_MARKS)}
"""Letters in the place of marks, of cuneiform, which no such text has. Tones and vowels tell words
apart (Thai for "rice" and "white", "not" and "wood"), and the tokenizer would split at marks."""
_LETTER = re.compile(rf"[{''.join(_MARKS)}]+|.[{''.join(_MARKS)}]*")


class Bm25Encoder:
    """Lower-cases, drops stop words and stems, as Qdrant does, and counts the remaining terms.

    Texts are folded first (see `folded`). Text of scripts without spaces is split into pairs of
    characters, which find what words would (Nie et al. 2000,
    https://doi.org/10.1145/355214.355235) and need no dictionary. Identifiers are terms of their
    own, beside those of their parts.
    """

    fingerprint = TERMS

    def __init__(self, *, language: str = "english") -> None:
        # Qdrant's encoder bakes the collection's mean length into a document's weights and
        # forgets how often a word stands in a query. With b = 0 its weight is
        # tf (k + 1) / (tf + k), from which the count itself follows: tf = w k / (k + 1 - w).
        self._bm25 = Bm25(Bm25Config(k=K1, b=0.0, language=language))

    def encode(self, texts: Sequence[str]) -> list[SparseVector]:
        """Term counts of each text, in input order; term ids ascending."""
        return [self._encode(text) for text in texts]

    def _encode(self, text: str) -> SparseVector:
        text = folded(text)
        words = text if text.isascii() else UNSPACED.sub(_pairs, text)
        vector = self._bm25.embed_document(" ".join((words, *identifier_terms(text))))
        indices = np.array(vector.indices, np.int32)
        weights = np.array(vector.values, np.float64)
        counts = np.rint(weights * K1 / (K1 + 1 - weights)).astype(np.float32)
        order = np.argsort(indices)
        return SparseVector(indices=indices[order], values=counts[order])


def _pairs(run: re.Match[str]) -> str:
    """Returns each two letters that follow each other, with their marks, as a word."""
    units = [unit.translate(_MARK_LETTERS) for unit in _LETTER.findall(run[0])]
    return f" {' '.join(map(''.join, pairwise(units))) if len(units) > 1 else ''.join(units)} "


def rounded_mean(terms: float, chunks: float) -> float:
    """Returns the rounded mean length, in terms, with which a scope's weights are made.

    It depends only on the scope's chunks, not on the order in which they were written or on the
    writer, so rankings do not depend on these either. It is within 3.2 % of the mean, so that few
    changes move it: when it moves, all weights are recomputed. 1 if there is no term.
    """
    if terms <= 0 or chunks <= 0:
        return 1.0
    fraction, exponent = math.frexp(terms / chunks)
    return math.ldexp(round(fraction * MEAN_STEPS) / MEAN_STEPS, exponent)


def bm25_weights(counts: SparseVector, *, mean_length: float) -> Float32Array:
    """Returns the weights of a document's terms before IDF.

    tf (k1 + 1) / (tf + k1 (1 - b + b length / mean_length)), with length and mean_length in terms.
    """
    tf = counts.values
    norm = K1 * (1 - B + B * float(tf.sum()) / mean_length)
    return (tf * (K1 + 1) / (tf + norm)).astype(np.float32)


def bm25_idf(documents: int, containing: int) -> float:
    """Returns ln(1 + (N - n + 0.5) / (n + 0.5)), Lucene's and Qdrant's variant, never negative."""
    return float(np.log1p((documents - containing + 0.5) / (containing + 0.5)))


def bm25_counts(weights: SparseVector, *, length: float, mean_length: float) -> SparseVector:
    """Returns the counts that `bm25_weights` was given; `length` is their sum."""
    norm = K1 * (1 - B + B * length / mean_length)
    counts = np.rint(weights.values * norm / (K1 + 1 - weights.values))
    return SparseVector(indices=weights.indices, values=counts.astype(np.float32))


def reweigh(
    weights: SparseVector, *, length: float, old_mean: float, new_mean: float
) -> SparseVector:
    """Recomputes weights that were made with `old_mean` for `new_mean`; lengths in terms."""
    counts = bm25_counts(weights, length=length, mean_length=old_mean)
    return SparseVector(indices=counts.indices, values=bm25_weights(counts, mean_length=new_mean))
