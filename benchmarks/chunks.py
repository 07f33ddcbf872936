"""Chunking strategies on character spans: how much of the evidence is retrieved, how much besides.

Three long documents and 276 questions of Chroma's evaluation (Smith & Troynikov 2024,
https://research.trychroma.com/evaluating-chunking) go through the product once for each strategy.
Recall, precision and IoU are those of `eval.measures.spans`, averaged over the questions. Small
chunks bring fewer characters than large ones, so each ranking is measured twice: its first five
chunks, and its first 2,000 characters, the last chunk cut off there. The floors are recursive
splitting at 200 and at 400 tokens.

One strategy beats another where the IoU of their first 2,000 characters differs by more than two
standard errors, question by question. Recall of five chunks decides nothing: it rises with their
size.

    python -m benchmarks.chunks

prints the tables of docs/chunking.md.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks._common import Report, Target, temporary_service
from benchmarks._rankings import corpus_of, ingest_corpus
from eval.calibration.evidence_runs import MemoEmbedder
from eval.datasets.corpus import Corpus, Span
from eval.measures.spans import SpanScores, first_characters, span_scores
from rag.build.service import Service
from rag.settings.ingest import ChunkerSettings, RecursiveSettings, SectionSettings
from rag.telemetry.trace import Trace
from rag.types import Hit, Query, Scope
from retrieval.bm25 import Bm25Encoder
from retrieval.context_window import SectionReader
from retrieval.hybrid import HybridRetriever

K = 5
CHARACTERS = 2000
WIDE = 4000
DEPTH = 100
FLOORS = (RecursiveSettings(max_tokens=200), RecursiveSettings(max_tokens=400))
STRATEGIES: tuple[ChunkerSettings, ...] = (
    SectionSettings(),
    SectionSettings(overlap=28),
    SectionSettings(max_tokens=128),
    SectionSettings(max_tokens=200),
    SectionSettings(max_tokens=400),
    RecursiveSettings(max_tokens=112),
    *FLOORS,
    RecursiveSettings(max_tokens=200, overlap=50),
    RecursiveSettings(max_tokens=400, overlap=100),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieved:
    """A strategy's rankings, `DEPTH` deep, by question id."""

    service: Service
    scope: Scope
    chunks: int
    hits: Mapping[str, Sequence[Hit]]


class Measured(NamedTuple):
    """A strategy's scores, question by question."""

    chunks: int
    by_count: Sequence[SpanScores]
    by_characters: Sequence[SpanScores]


def run() -> Report:
    """The default beside both floors."""
    return asyncio.run(_run(corpus_of("chunk-spans")))


async def _run(corpus: Corpus) -> Report:
    report = Report()
    ours, *floors = [await _measure(corpus, s) for s in (SectionSettings(), *FLOORS)]
    for settings, floor in zip(FLOORS, floors, strict=True):
        for compared, a, b in (
            (f"{CHARACTERS:,} characters", ours.by_characters, floor.by_characters),
            (f"{K} chunks", ours.by_count, floor.by_count),
        ):
            fair = Target(bound=0, by="difference", at_least=True)
            for name in ("recall", "precision", "iou"):
                report.add(
                    f"{compared}, {name}, by {label(settings)}",
                    getattr(_mean(a), name),
                    floor=getattr(_mean(b), name),
                    target=None if name == "recall" and a is ours.by_count else fair,
                )
        note = f"iou of {CHARACTERS:,} characters, less that by {label(settings)}, ± standard error"
        report.notes.append(f"{note}: {_difference(ours, floor)}")
    return report


def _difference(a: Measured, b: Measured) -> str:
    """By how much IoU at equal characters is more in `a`, with its standard error."""
    pairs = zip(a.by_characters, b.by_characters, strict=True)
    found: npt.NDArray[np.float64] = np.array([x.iou - y.iou for x, y in pairs])
    return f"{found.mean():+.4f} ± {found.std(ddof=1) / len(found) ** 0.5:.4f}"


def main() -> None:
    """Prints the tables, a line as soon as it is found."""
    corpus = corpus_of("chunk-spans")
    print(f"| | chunks | {K} chunks: characters | recall | precision | IoU ", end="")
    print(f"| {CHARACTERS:,} characters: recall | precision | IoU | less the default's |")
    print("|---|" + "---:|" * 9)
    default = asyncio.run(_measure(corpus, SectionSettings()))
    for settings in STRATEGIES:
        found = asyncio.run(_measure(corpus, settings))
        a, b = _mean(found.by_count), _mean(found.by_characters)
        cells = [f"{a.characters:,.0f}"] + [f"{v:.3f}" for v in (*a[:3], *b[:3])]
        cells.append(_difference(found, default))
        print(f"| {label(settings)} | {found.chunks} | {' | '.join(cells)} |", flush=True)
    print("\n| | characters | recall | precision | IoU |\n|---|---:|---:|---:|---:|")
    for name, scores in asyncio.run(_widened(corpus)).items():
        cells = [f"{scores.characters:,.0f}"] + [f"{v:.3f}" for v in scores[:3]]
        print(f"| {name} | {' | '.join(cells)} |")


def label(settings: ChunkerSettings) -> str:
    """`section 112`, `recursive 200 + 50`."""
    overlap = f" + {settings.overlap}" if settings.overlap else ""
    return f"{settings.kind} {settings.max_tokens}{overlap}"


@contextlib.asynccontextmanager
async def _retrieve(corpus: Corpus, chunker: ChunkerSettings) -> AsyncIterator[Retrieved]:
    """The documents through the product, and all questions asked."""
    async with temporary_service(chunker=chunker) as (service, queue):
        embedder = MemoEmbedder(service.embedder)
        ingested = await ingest_corpus(service, queue, embedder, corpus)
        for passage in corpus.passages:  # the spans count characters of this very text
            assert await service.catalog.documents.text(ingested.scope, passage.id) == passage.text
        retriever = HybridRetriever(
            embedder=embedder, encoder=Bm25Encoder(), index=service.index, depth=DEPTH
        )
        hits = {}
        for question in corpus.questions:
            query = Query(text=question.text, scope=ingested.scope, top_k=DEPTH)
            hits[question.id] = (await retriever.retrieve(query, Trace())).hits
        yield Retrieved(
            service=service, scope=ingested.scope, chunks=len(ingested.owners), hits=hits
        )


async def _measure(corpus: Corpus, chunker: ChunkerSettings) -> Measured:
    async with _retrieve(corpus, chunker) as retrieved:
        ranked = {question: _spans(hits) for question, hits in retrieved.hits.items()}
    return Measured(
        retrieved.chunks,
        [span_scores(q.spans, ranked[q.id][:K]) for q in corpus.questions],
        [
            span_scores(q.spans, first_characters(ranked[q.id], CHARACTERS))
            for q in corpus.questions
        ],
    )


async def _widened(corpus: Corpus) -> dict[str, SpanScores]:
    """The default's first hits widened by their section, and as many characters of its ranking."""
    async with _retrieve(corpus, SectionSettings()) as retrieved:
        index, catalog = retrieved.service.index, retrieved.service.catalog
        reader = SectionReader(index=index, catalog=catalog, chars=WIDE)
        wide, ranked = [], []
        for question in corpus.questions:
            hits = retrieved.hits[question.id]
            widened = _spans(await reader.read(retrieved.scope, hits[:K]))
            wide.append(span_scores(question.spans, widened))
            ranked.append(span_scores(question.spans, first_characters(_spans(hits), WIDE)))
    return {
        f"{K} hits widened to {WIDE:,} characters": _mean(wide),
        f"first {WIDE:,} characters of the ranking": _mean(ranked),
    }


def _spans(hits: Sequence[Hit]) -> list[Span]:
    chunks = [hit.chunk for hit in hits]
    return [Span(document_id=c.document_id, start=c.start, end=c.end) for c in chunks]


def _mean(scores: Sequence[SpanScores]) -> SpanScores:
    return SpanScores(*np.mean(scores, axis=0).tolist())


if __name__ == "__main__":
    main()
