"""Measures an encoder by itself: exact search over whole documents by its vectors alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from eval.datasets.corpus import Corpus
from eval.measures.ranking import ranking_measures
from rag.errors import InputError
from rag.types import Float32Array, Kind

MEASURE = "nDCG@10"
_DEPTH = 10
_AT_ONCE = 32
Encode = Callable[[Sequence[str], Kind], Float32Array]
"""Returns float32[texts, dim] of unit norm; called on several threads at once."""


def dense_quality(corpus: Corpus, encode: Encode, *, threads: int) -> float:
    """Returns the mean nDCG@10 of the judged questions, over documents cut at the window.

    Raises:
        InputError: The set has no documents or no judgements.
        ConfigError: `ir_measures` is not installed.
    """
    judged = [question for question in corpus.questions if corpus.qrels.get(question.id)]
    if not corpus.passages or not judged:
        raise InputError(f"The set {corpus.name} has no documents with judgements: name another.")
    ids = [passage.id for passage in corpus.passages]
    texts = [f"{passage.title}\n{passage.text}".strip() for passage in corpus.passages]
    documents = _encoded(texts, "passage", encode, threads)
    questions = _encoded([q.text for q in judged], "query", encode, threads)
    values = []
    for question, vector in zip(judged, questions, strict=True):
        best = np.argsort(-(documents @ vector), kind="stable")[:_DEPTH]
        gains = corpus.qrels[question.id]
        values.append(ranking_measures([MEASURE], gains, [ids[i] for i in best])[MEASURE])
    return float(np.mean(values))


def _encoded(texts: list[str], kind: Kind, encode: Encode, threads: int) -> Float32Array:
    parts = [texts[i : i + _AT_ONCE] for i in range(0, len(texts), _AT_ONCE)]
    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(lambda part: encode(part, kind), parts)))
