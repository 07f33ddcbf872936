"""Whether the support score tells passages that carry a claim from those that are merely near it.

Measured on squad2-dev-a. A claim is a question with its gold answer behind it, and its own
paragraph carries it; the three other paragraphs nearest to it by the embedder, the gold answer in
none of them, do not. The floor is the score by characters and numbers alone, at a bound that lets
as many of the others through.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from benchmarks._common import Report
from benchmarks._rankings import corpus_of
from eval.datasets.corpus import Corpus, Question
from generation.grounding.citations import MIN_SUPPORT
from generation.grounding.support import BlendedSupport, shared_grams, shared_numbers
from rag.protocols import SupportScorer
from rag.text.sentences import sentence_spans
from rag.types import Chunk, Float32Array, Span
from retrieval.embedders.bulk import embed_all
from retrieval.embedders.embedder import BertEmbedder
from retrieval.embedders.loading import minilm_folder
from retrieval.embedders.token_cache import TokenCache

SET = "squad2-dev-a"
ASKED = 500
NEAR = 3
CACHE_BYTES = 256 << 20


class CharacterSupport:
    """`SupportScorer` by characters and numbers alone: the floor."""

    async def score(self, claim: str, chunk: Chunk, spans: Sequence[Span]) -> Float32Array:
        """float32[spans], 0 to 1."""
        texts = [chunk.text[start:end] for start, end in spans]
        scores = [shared_grams(claim, text) * shared_numbers(claim, text) for text in texts]
        return np.array(scores, np.float32)


def run() -> Report:
    """Score claims with their own paragraph, and with others."""
    report = Report()
    asyncio.run(_measure(report))
    return report


async def _measure(report: Report) -> None:
    embedder = BertEmbedder(minilm_folder())
    try:
        corpus = corpus_of(SET)
        pairs = await _pairs(corpus, embedder)
        blended = BlendedSupport(TokenCache(embedder, max_bytes=CACHE_BYTES))
        own, others = await _scores(blended, pairs)
        plain, plain_others = await _scores(CharacterSupport(), pairs)
    finally:
        embedder.close()
    through = float((others >= MIN_SUPPORT).mean())
    bound = float(np.quantile(plain_others, 1 - through))
    found = float((own >= MIN_SUPPORT).mean())
    report.add("claims that their paragraph carries", found, floor=float((plain > bound).mean()))
    report.add(
        "of those that another one does", through, floor=float((plain_others > bound).mean())
    )
    report.notes.append(
        f"{len(own)} claims, {len(others)} others; support of {MIN_SUPPORT} or more"
    )


async def _pairs(corpus: Corpus, embedder: BertEmbedder) -> list[tuple[str, Chunk, bool]]:
    """Claims, each with its own paragraph and the nearest others: claim, paragraph, its own."""
    chunks = {p.id: _chunk(p.text) for p in corpus.passages}
    ids = list(chunks)
    vectors = await embed_all(embedder, [chunks[i].text for i in ids], kind="passage")
    sample = [q for q in corpus.questions if q.answers and corpus.qrels.get(q.id)]
    sample = sample[:: max(1, len(sample) // ASKED)]
    claims = [_claim(question) for question in sample]
    near = np.argsort(-(await embed_all(embedder, claims, kind="query") @ vectors.T), axis=1)
    pairs = []
    for question, claim, order in zip(sample, claims, near, strict=True):
        (own,) = corpus.qrels[question.id]
        answer = question.answers[0].lower()
        others = (ids[i] for i in order if answer not in chunks[ids[i]].text.lower())
        pairs.append((claim, chunks[own], True))
        pairs += [
            (claim, chunks[other], False) for other, _ in zip(others, range(NEAR), strict=False)
        ]
    return pairs


def _claim(question: Question) -> str:
    return f"{question.text.rstrip('? ')} {question.answers[0]}."


async def _scores(
    support: SupportScorer, pairs: Sequence[tuple[str, Chunk, bool]]
) -> tuple[Float32Array, Float32Array]:
    """The best sentence's support: of claims' own paragraphs, and of the others."""
    best = [
        float((await support.score(claim, chunk, sentence_spans(chunk.text))).max())
        for claim, chunk, _ in pairs
    ]
    is_own = np.array([own for *_, own in pairs])
    scores = np.array(best, np.float32)
    return scores[is_own], scores[~is_own]


def _chunk(text: str) -> Chunk:
    return Chunk(
        id="", document_id="", version="", position=0, text=text, start=0, end=len(text),
        title="", uri="",
    )  # fmt: skip
