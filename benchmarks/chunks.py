"""Chunking strategies on character spans: how much of the evidence is retrieved, how much besides.

Three long documents and 276 questions of Chroma's evaluation (Smith & Troynikov 2024,
https://research.trychroma.com/evaluating-chunking) go through the product once for each strategy.
Of a question, with S the characters that are its evidence and R those that were retrieved, a
character retrieved twice counted twice:

    recall = |S ∩ R| / |S|, precision = |S ∩ R| / |R|, IoU = |S ∩ R| / (|R| + |S| - |S ∩ R|)

All are means over the questions. Small chunks bring fewer characters than large ones, so each
ranking is measured twice: its first five chunks, and its first 2,000 characters, the last chunk cut
off there. The floor is recursive splitting at 200 and at 400 tokens.

    python -m benchmarks.chunks

prints the table of docs/chunking.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from benchmarks._common import Report, Target, temporary_service
from benchmarks._rankings import corpus_of, ingest_corpus
from eval.asking import MemoEmbedder
from eval.corpus import Corpus, Question
from rag.settings import ChunkerSettings, RecursiveSettings, SectionSettings
from rag.telemetry import Trace
from rag.types import Query
from retrieval.hybrid import HybridRetriever
from retrieval.sparse import Bm25Encoder

K = 5
CHARACTERS = 2000
DEPTH = 100
FLOORS = (RecursiveSettings(max_tokens=200), RecursiveSettings(max_tokens=400))
STRATEGIES: tuple[ChunkerSettings, ...] = (
    SectionSettings(),
    SectionSettings(overlap=28),
    SectionSettings(max_tokens=200),
    SectionSettings(max_tokens=400),
    RecursiveSettings(max_tokens=112),
    *FLOORS,
    RecursiveSettings(max_tokens=200, overlap=50),
    RecursiveSettings(max_tokens=400, overlap=100),
)

Passage = tuple[str, int, int]
"""Document id, and a span of its text."""


class Scores(NamedTuple):
    """Of one question, or their means; `characters` is |R|."""

    recall: float
    precision: float
    iou: float
    characters: float


class Measured(NamedTuple):
    """A strategy's scores by what was retrieved."""

    chunks: int
    by_count: Scores
    by_characters: Scores


def run() -> Report:
    """The settings in force beside both floors."""
    return asyncio.run(_run(corpus_of("chunk-spans")))


async def _run(corpus: Corpus) -> Report:
    report = Report()
    ours, *floors = [await _measure(corpus, s) for s in (SectionSettings(), *FLOORS)]
    for settings, floor in zip(FLOORS, floors, strict=True):
        for what, a, b in (
            (f"{K} chunks", ours.by_count, floor.by_count),
            (f"{CHARACTERS:,} characters", ours.by_characters, floor.by_characters),
        ):
            for name in ("recall", "precision", "iou"):
                report.add(
                    f"{name} of {what}; floor {label(settings)}",
                    getattr(a, name),
                    floor=getattr(b, name),
                    target=Target(bound=0, by="difference", at_least=True),
                )
    return report


def main() -> None:
    """Prints the table, a line as soon as it is found."""
    corpus = corpus_of("chunk-spans")
    print(f"| | chunks | {K} chunks: characters | recall | precision | IoU ", end="")
    print(f"| {CHARACTERS:,} characters: recall | precision | IoU |")
    print("|---|" + "---:|" * 8)
    for settings in STRATEGIES:
        found = asyncio.run(_measure(corpus, settings))
        a, b = found.by_count, found.by_characters
        cells = [f"{a.characters:,.0f}"] + [f"{v:.3f}" for v in (*a[:3], *b[:3])]
        print(f"| {label(settings)} | {found.chunks} | {' | '.join(cells)} |", flush=True)


def label(settings: ChunkerSettings) -> str:
    """`section 112`, `recursive 200 + 50`."""
    overlap = f" + {settings.overlap}" if settings.overlap else ""
    return f"{settings.kind} {settings.max_tokens}{overlap}"


async def _measure(corpus: Corpus, chunker: ChunkerSettings) -> Measured:
    async with temporary_service(chunker=chunker) as (service, queue):
        embedder = MemoEmbedder(service.embedder)
        ingested = await ingest_corpus(service, queue, embedder, corpus)
        for passage in corpus.passages:  # the spans count characters of this very text
            assert await service.catalog.text(ingested.scope, passage.id) == passage.text
        retriever = HybridRetriever(
            embedder=embedder, encoder=Bm25Encoder(), index=service.index, depth=DEPTH
        )
        by_count, by_characters = [], []
        for question in corpus.questions:
            query = Query(text=question.text, scope=ingested.scope, top_k=DEPTH)
            chunks = [hit.chunk for hit in await retriever.retrieve(query, Trace())]
            ranked = [(chunk.document_id, chunk.start, chunk.end) for chunk in chunks]
            by_count.append(_score(question, ranked[:K]))
            by_characters.append(_score(question, list(_first(ranked, CHARACTERS))))
    return Measured(len(ingested.owners), _mean(by_count), _mean(by_characters))


def _first(ranked: Sequence[Passage], room: int) -> Iterator[Passage]:
    """The first characters of a ranking."""
    for document, start, end in ranked:
        yield document, start, min(end, start + room)
        room -= end - start
        if room <= 0:
            return


def _score(question: Question, passages: Sequence[Passage]) -> Scores:
    wanted = {i for start, end in question.meta["spans"] for i in range(start, end)}
    here = [range(a, b) for document, a, b in passages if document == question.meta["doc"]]
    covered = len(wanted.intersection(chain(*here)))
    retrieved = sum(end - start for _, start, end in passages)
    return Scores(
        recall=covered / len(wanted),
        precision=covered / retrieved,
        iou=covered / (retrieved + len(wanted) - covered),
        characters=retrieved,
    )


def _mean(scores: Sequence[Scores]) -> Scores:
    return Scores(*np.mean(scores, axis=0).tolist())


if __name__ == "__main__":
    main()
