"""Whether a Qdrant server ranks as the embedded index does, however it was filled and is cut.

Measured: on each set the plain hybrid top ten, the first hit, and the scores of the BM25 leg, of an
index on a server that two workers filled by turns, with one shard and with three, beside another
tenant's chunks. The floor is the embedded index, filled in one go. The server is the tests'
stand-in: the client's local mode, each shard a collection of its own, behind gRPC; or, where
QDRANT_URL names one, a real one. The local mode computes in numpy, so scores differ by rounding.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks._common import Report, Target, temporary_service
from benchmarks._rankings import corpus_of, ingest_corpus
from eval.calibration.evidence_runs import MemoEmbedder
from rag.text.passages import passage_text
from rag.types import Leg, Match, Point, Scope
from retrieval.bm25 import Bm25Encoder
from retrieval.fusion import rrf
from retrieval.indexes.edge import EdgeIndex
from retrieval.indexes.qdrant import QdrantIndex
from retrieval.indexes.qdrant_points import Layout
from retrieval.indexes.qdrant_server import Server
from tests.qdrant_grpc import grpc_qdrant
from tests.qdrant_servers import real_qdrant, remove_collections

SETS = ("cranfield", "squad2-dev-a")
QUESTIONS = 100
"""Of each set, evenly spread: in local mode each takes a tenth of a second."""
DEPTH, RRF_K, TOP = 100, 10, 10
WORKERS = 2
EQUAL = Target(bound=1.0, at_least=True)
ROUNDING = Target(bound=1e-6)

Ranked = list[list[list[Match]]]
"""Of each question the matches of each leg."""


def run() -> Report:
    """Every set."""
    return asyncio.run(_run())


async def _run() -> Report:
    report = Report()
    for name in SETS:
        points, legs = await _points(name)
        scope = Scope(tenant="bench", collection=name)
        dim = len(legs[0][0].vector)  # type: ignore[arg-type] # the dense leg comes first
        with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder:
            edge = EdgeIndex(Path(folder), dim=dim)
            await edge.upsert(scope, points)
            await edge.maintain(scope)
            floor = [await edge.search(scope, each) for each in legs]
            await edge.close()
        for shards in (1, 3):
            async with _server() as server:
                prefix = f"bench_{uuid.uuid4().hex}_"
                layout = Layout(shards=shards)
                workers = [
                    QdrantIndex(server, dim=dim, prefix=prefix, layout=layout)
                    for _ in range(WORKERS)
                ]
                found = await _served(workers, scope, points, legs)
                await remove_collections(server, prefix)
            _compare(report, f"{name}, {shards} shard{'s' * (shards > 1)}", found, floor)
        report.notes.append(f"{name}: {len(points)} chunks, {len(legs)} questions")
    return report


async def _points(name: str) -> tuple[list[Point], list[list[Leg]]]:
    """The points of the set, document by document, and its questions."""
    encoder = Bm25Encoder()
    async with temporary_service() as (service, queue):
        corpus = corpus_of(name)
        step = len(corpus.questions) // QUESTIONS
        corpus = replace(corpus, questions=corpus.questions[::step][:QUESTIONS])
        embedder = MemoEmbedder(service.embedder)
        ingested = await ingest_corpus(service, queue, embedder, corpus)
        chunks = [c async for page in service.index.pages(ingested.scope) for c in page]
        chunks.sort(key=lambda chunk: (chunk.document_id, chunk.position))
        vectors = await service.index.vectors(ingested.scope, [chunk.id for chunk in chunks])
        texts = [question.text for question in corpus.questions]
        query_vectors = await embedder.embed(texts, kind="query")
    counts = encoder.encode([passage_text(chunk) for chunk in chunks])
    points = [
        Point(chunk=chunk, dense=vectors[chunk.id], sparse=sparse)
        for chunk, sparse in zip(chunks, counts, strict=True)
    ]
    legs = [
        [
            Leg(name="dense", vector=dense, limit=DEPTH),
            Leg(name="sparse", vector=sparse, limit=DEPTH),
        ]
        for dense, sparse in zip(query_vectors, encoder.encode(texts), strict=True)
    ]
    return points, legs


def _server() -> contextlib.AbstractAsyncContextManager[Server]:
    return real_qdrant(prefer_grpc=True) if os.environ.get("QDRANT_URL") else grpc_qdrant()


async def _served(
    workers: Sequence[QdrantIndex],
    scope: Scope,
    points: Sequence[Point],
    legs: Sequence[Sequence[Leg]],
) -> Ranked:
    """The hits after the workers have written the points by turns."""
    await workers[0].upsert(replace(scope, tenant="other"), points[::3])
    for i in range(0, len(points), 16):
        await workers[i // 16 % len(workers)].upsert(scope, points[i : i + 16])
    for worker in workers:
        await worker.maintain(scope)
    return [await workers[0].search(scope, each) for each in legs]


def _compare(report: Report, label: str, ours: Ranked, theirs: Ranked) -> None:
    tops = [(_top(a), _top(b)) for a, b in zip(ours, theirs, strict=True)]
    shared = float(np.mean([len({*a} & {*b}) / TOP for a, b in tops]))
    first = float(np.mean([a[0] == b[0] for a, b in tops]))
    report.add(f"{label}: shared of the top ten", shared, floor=1.0, target=EQUAL)
    report.add(f"{label}: same first hit", first, floor=1.0, target=EQUAL)
    differences = [
        abs(a.score - b.score) / b.score
        for (_, sparse), (_, exact) in zip(ours, theirs, strict=True)
        for a, b in zip(sparse, exact, strict=True)
    ]
    report.add(f"{label}: BM25 scores differ at most by", max(differences), target=ROUNDING)


def _top(legs: Sequence[Sequence[Match]]) -> list[str]:
    lists = {str(i): [match.chunk_id for match in leg] for i, leg in enumerate(legs)}
    return [fused.chunk_id for fused in rrf(lists, k=RRF_K, limit=TOP)]
