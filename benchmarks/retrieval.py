"""The cost of hybrid retrieval beyond the encoding of the question, at 50,000 chunks.

Measured: `HybridRetriever.retrieve`, top_k 10. The floor is `Embedder.embed` of the same question
alone, for no dense retriever can do without it. Both take turns, question by question, and change
places every time. So that speed is not bought with recall, the first ten of the dense leg, asked
as the product asks it, are compared with an exact search over all vectors.

The chunks are windows of 80 words over real texts. Every fourth is embedded; the three after it get
its vector plus noise (cosine about 0.9), because embedding all would take ten minutes and change
neither the graph's size nor the terms, which are real throughout. Embedding fewer would fake a
fault: among groups of twenty such neighbours the graph finds a tenth less than among real vectors,
among groups of four the same share.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks._common import Report, Target, p50
from benchmarks._texts import questions, words
from rag.build.embedding import build_embedder
from rag.settings.tree import load_settings
from rag.telemetry.trace import Trace
from rag.types import Chunk, Float32Array, Leg, Point, Query, Scope
from retrieval.bm25 import Bm25Encoder
from retrieval.embedders.embedder import ModelEmbedder
from retrieval.hybrid import HybridRetriever
from retrieval.indexes.edge import EdgeIndex

CHUNKS = 50_000
EMBEDDED = 12_500
WINDOW = 80
NOISE = 0.5
QUESTIONS = 300
JUDGED = 200
WRITTEN_AT_ONCE = 1_000
SCOPE = Scope(tenant="bench", collection="windows")


def run() -> Report:
    """Build, then ask."""
    return asyncio.run(_run())


async def _run() -> Report:
    report = Report()
    settings = load_settings()
    embedder = build_embedder(settings.embedder)
    texts = windows(CHUNKS)
    every = CHUNKS // EMBEDDED
    vectors = near(await embedder.embed(texts[::every], kind="passage"), every)
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder:
        index = EdgeIndex(Path(folder), dim=embedder.dim)
        try:
            await _build(report, index, texts, vectors)
            await _recall(report, index, embedder, vectors, depth=settings.retrieval.depth)
            retriever = HybridRetriever(
                embedder=embedder,
                encoder=Bm25Encoder(),
                index=index,
                depth=settings.retrieval.depth,
                rrf_k=settings.retrieval.rrf_k,
            )
            await _overhead(report, retriever, embedder)
        finally:
            await index.close()
            embedder.close()
    return report


def windows(count: int) -> list[str]:
    """Returns windows of 80 words, overlapping, and as far apart as gives so many."""
    all_words = words()
    step = max(1, (len(all_words) - WINDOW) // count)
    return [" ".join(all_words[i * step : i * step + WINDOW]) for i in range(count)]


def near(real: Float32Array, every: int) -> Float32Array:
    """Returns each unit vector and, after it, `every - 1` that are it plus noise."""
    vectors = np.repeat(real, every, axis=0)
    random = np.random.default_rng(0)
    noise = random.standard_normal(vectors.shape, np.float32)
    noise *= NOISE / np.linalg.norm(noise, axis=1, keepdims=True)
    noise[::every] = 0
    vectors += noise
    unit: Float32Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


async def _build(
    report: Report, index: EdgeIndex, texts: Sequence[str], vectors: Float32Array
) -> None:
    encoder = Bm25Encoder()
    writing = 0.0
    for i in range(0, CHUNKS, WRITTEN_AT_ONCE):
        part = slice(i, i + WRITTEN_AT_ONCE)
        counts = encoder.encode(texts[part])
        points = [
            Point(chunk=chunk, dense=dense, sparse=sparse)
            for chunk, dense, sparse in zip(
                chunks_of(texts[part], i), vectors[part], counts, strict=True
            )
        ]
        started = time.perf_counter()
        await index.upsert(SCOPE, points)
        writing += time.perf_counter() - started
    started = time.perf_counter()
    await index.maintain(SCOPE)
    report.add("upsert", CHUNKS / writing, unit="points/s")
    report.add("graph built in", time.perf_counter() - started, unit="s")


def chunks_of(texts: Sequence[str], first: int) -> Iterator[Chunk]:
    """Yields a chunk of each text, for the places from `first` on."""
    for position, text in enumerate(texts, start=first):
        yield Chunk(
            id=_id(position),
            document_id=f"document-{position // 50}",
            version="",
            position=position,
            text=text,
            start=0,
            end=len(text),
            title="",
            uri=f"bench:{position // 50}",
        )


def _id(position: int) -> str:
    return str(uuid.UUID(int=position))


async def _recall(
    report: Report,
    index: EdgeIndex,
    embedder: ModelEmbedder,
    vectors: Float32Array,
    *,
    depth: int,
) -> None:
    found = []
    for question in questions(JUDGED):
        vector = (await embedder.embed([question], kind="query"))[0]
        exact = {_id(int(i)) for i in np.argpartition(-(vectors @ vector), 10)[:10]}
        leg = Leg(name="dense", vector=vector, limit=depth)
        matches = (await index.search(SCOPE, [leg]))[0]
        found.append(len(exact & {match.chunk_id for match in matches[:10]}) / 10)
    report.add(
        f"dense recall@10, {JUDGED} questions",
        float(np.mean(found)),
        floor=1.0,
        target=Target(bound=0.98, at_least=True),
    )


async def _overhead(report: Report, retriever: HybridRetriever, embedder: ModelEmbedder) -> None:
    whole: list[float] = []
    alone: list[float] = []
    traces: list[Trace] = []

    async def retrieve(text: str) -> None:
        traces.append(Trace())
        started = time.perf_counter()
        await retriever.retrieve(Query(text=text, scope=SCOPE, top_k=10), traces[-1])
        whole.append((time.perf_counter() - started) * 1e3)

    async def embed(text: str) -> None:
        started = time.perf_counter()
        await embedder.embed([text], kind="query")
        alone.append((time.perf_counter() - started) * 1e3)

    for number, text in enumerate(questions(QUESTIONS)):
        for step in (retrieve, embed) if number % 2 else (embed, retrieve):
            await step(text)
    report.add(
        f"retrieve p50, {CHUNKS:,} chunks",
        p50(whole),
        unit="ms",
        floor=p50(alone),
        target=Target(bound=3, by="difference"),
    )
    stages = ", ".join(f"{s} {p50([t.timings[s] for t in traces]):.2f}" for s in traces[0].timings)
    report.notes.append(f"p50 by stage, ms: {stages}")
