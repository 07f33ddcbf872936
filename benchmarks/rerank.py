"""The cost of reranking the best candidates, beside the encoder alone.

5,000 chunks of real words in an Edge index. A question is timed alone, with nothing kept of the
passages that were read before: the worst case, as with `reranker.cache_mb = 0`. Its floor is the
same retrieval without a reranker. Then 32 callers at once have questions judged; their floor is one
offline pass of the encoder over the same questions and passages.

    python -m benchmarks.rerank

prints nDCG@10 of each way to rerank that docs/reranking.md has.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from benchmarks._common import Report, Target, p50, percentile, temporary_service
from benchmarks._rankings import corpus_of, ingest_corpus, measure, reranked_run
from benchmarks._texts import questions, words
from eval.calibration.evidence_runs import MemoEmbedder
from rag.build.embedding import build_embedder, build_question_embedder, build_token_embedder
from rag.build.retrieval import build_late_interaction, build_retriever
from rag.protocols import Retriever
from rag.settings.retrieval import (
    LateInteractionSettings,
    NoRerankerSettings,
    RerankerSettings,
    RetrievalSettings,
)
from rag.settings.tree import Settings
from rag.telemetry.trace import Trace
from rag.text.passages import passage_text
from rag.types import Chunk, Point, Query, Scope
from retrieval.bm25 import Bm25Encoder
from retrieval.embedders.embedder import ModelEmbedder
from retrieval.indexes.edge import EdgeIndex

CHUNKS = 5_000
WINDOW = 70
"""Words of a chunk: some 100 tokens, as large as the default chunker makes them."""
ASKED = 200
CALLERS = 32
JUDGED = 256
AT_ONCE = 512
"""Texts of the offline pass that wait for the encoder: it takes no more than 1,024."""
SCOPE = Scope(tenant="bench", collection="windows")
SETS = ("cranfield", "squad2-dev-a", "xquad-en", "xquad-de", "xquad-es", "xquad-zh")
RERANKERS: dict[str, RerankerSettings] = {
    "none": NoRerankerSettings(kind="none"),
    "replace": LateInteractionSettings(combine="replace"),
    "rrf, 8, no feedback": LateInteractionSettings(combine="rrf", feedback=False),
    "rrf, 8": LateInteractionSettings(combine="rrf"),
    "sum, 8, no feedback": LateInteractionSettings(feedback=False),
    "sum, 4": LateInteractionSettings(depth=4),
    "sum, 8": LateInteractionSettings(),
    "sum, 16": LateInteractionSettings(depth=16),
    "sum, 30": LateInteractionSettings(depth=30),
}


def run() -> Report:
    """Alone, then together."""
    return asyncio.run(_run())


async def _run() -> Report:
    report = Report()
    embedder = build_embedder(Settings().embedder)
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder:
        index = EdgeIndex(Path(folder), dim=embedder.dim)
        try:
            chunks = await _build(index, embedder)
            await _alone(report, index, embedder)
            await _together(report, index, embedder, chunks)
        finally:
            await index.close()
            embedder.close()
    return report


async def _build(index: EdgeIndex, embedder: ModelEmbedder) -> list[Chunk]:
    all_words = words()
    step = max(1, (len(all_words) - WINDOW) // CHUNKS)
    texts = [" ".join(all_words[i * step : i * step + WINDOW]) for i in range(CHUNKS)]
    chunks = [_chunk(position, text) for position, text in enumerate(texts)]
    dense = await embedder.embed(texts, kind="passage")
    sparse = Bm25Encoder().encode(texts)
    for i in range(0, CHUNKS, 1000):
        part = zip(chunks[i : i + 1000], dense[i : i + 1000], sparse[i : i + 1000], strict=True)
        await index.upsert(SCOPE, [Point(chunk=c, dense=d, sparse=s) for c, d, s in part])
    await index.maintain(SCOPE)
    return chunks


def _chunk(position: int, text: str) -> Chunk:
    return Chunk(
        id=str(uuid.UUID(int=position)),
        document_id=f"document-{position // 50}",
        version="",
        position=position,
        text=text,
        start=0,
        end=len(text),
        title="",
        uri=f"bench:{position // 50}",
    )


def _retriever(index: EdgeIndex, embedder: ModelEmbedder, *, reranked: bool) -> Retriever:
    """One that has read nothing yet."""
    reranking = LateInteractionSettings()
    tokens = build_token_embedder(reranking, embedder)
    questions = build_question_embedder(reranking, embedder, tokens)
    return build_retriever(
        RetrievalSettings(),
        reranking,
        reranker=build_late_interaction(tokens, Bm25Encoder(), index) if reranked else None,
        embedder=questions if reranked else embedder,
        encoder=Bm25Encoder(),
        index=index,
    )


async def _alone(report: Report, index: EdgeIndex, embedder: ModelEmbedder) -> None:
    seconds: dict[str, list[float]] = {"plain": [], "reranked": []}
    traces: list[Trace] = []
    for text in questions(ASKED):
        for name, spent in seconds.items():
            retriever = _retriever(index, embedder, reranked=name == "reranked")
            trace = Trace()
            started = time.perf_counter()
            await retriever.retrieve(Query(text=text, scope=SCOPE), trace)
            spent.append((time.perf_counter() - started) * 1e3)
            if name == "reranked":
                traces.append(trace)
    report.add(
        f"retrieve p50, {CHUNKS:,} chunks, reranked",
        p50(seconds["reranked"]),
        unit="ms",
        floor=p50(seconds["plain"]),
        target=Target(bound=60),
    )
    report.add(
        "retrieve p95",
        percentile(seconds["reranked"], 95),
        unit="ms",
        floor=percentile(seconds["plain"], 95),
    )
    stages = ", ".join(f"{s} {p50([t.timings[s] for t in traces]):.2f}" for s in traces[0].timings)
    report.notes.append(f"p50 by stage, ms: {stages}")


async def _together(
    report: Report, index: EdgeIndex, embedder: ModelEmbedder, chunks: Sequence[Chunk]
) -> None:
    """Pairs of a question and a passage that are judged in a second."""
    reranker = build_late_interaction(embedder, Bm25Encoder(), index)
    depth = LateInteractionSettings().depth
    question_texts = questions(JUDGED)
    read = [[chunks[(n * depth + i) * 7 % CHUNKS] for i in range(depth)] for n in range(JUDGED)]
    pairs = JUDGED * depth
    waiting = list(zip(question_texts, read, strict=True))

    async def caller() -> None:
        while waiting:
            text, passages = waiting.pop()
            await reranker.score(Query(text=text, scope=SCOPE), passages)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    together = pairs / (time.perf_counter() - started)
    texts = [passage_text(chunk) for passages in read for chunk in passages]
    started = time.perf_counter()
    await embedder.embed_tokens(question_texts, kind="query")
    for i in range(0, len(texts), AT_ONCE):
        await embedder.embed_tokens(texts[i : i + AT_ONCE], kind="passage")
    offline = pairs / (time.perf_counter() - started)
    report.add(
        f"{CALLERS} callers judge",
        together,
        unit="pairs/s",
        floor=offline,
        target=Target(bound=0.8, by="ratio", at_least=True),
    )


async def _compare() -> None:
    async with temporary_service() as (service, queue):
        embedder = MemoEmbedder(service.embedder)
        for name in SETS:
            ingested = await ingest_corpus(service, queue, embedder, corpus_of(name))
            for way, settings in RERANKERS.items():
                run = await reranked_run(ingested, settings, top_k=30)
                found = measure(ingested.corpus, run)["nDCG@10"]
                print(f"{name:14} {way:20} {found:.4f}", flush=True)


if __name__ == "__main__":
    asyncio.run(_compare())
