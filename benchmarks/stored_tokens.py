"""Gain and cost of token vectors that are stored at ingest, by their number type.

A set is ingested by a service of its own for each way to store them, so that bytes are that way's
alone. Its floor is late interaction as it is without: passages are encoded as they are judged, with
nothing kept of those that were read before.

    python -m benchmarks.stored_tokens [--sets …]

prints for each set documents ingested a second without and with token vectors, by turns; for each
way KiB a chunk, of its token vectors and of all files of the index, write-ahead log and all, after
`maintain`; and for several depths nDCG@10 and milliseconds of a question alone (p50). "cut" is
nDCG@10 with vectors turned at random and cut to as many float16 numbers as take the bytes of 384 in
Turbo4.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import qdrant_edge as qe

from benchmarks._common import p50, temporary_service
from benchmarks._rankings import Ingested, corpus_of, ingest_corpus, measure, reranked_run
from eval.calibration.evidence_runs import MemoEmbedder
from eval.datasets.corpus import Corpus
from rag.build.embedding import build_embedder
from rag.build.retrieval import build_retriever, open_reranker
from rag.protocols import TokenEmbedder
from rag.settings.retrieval import LateInteractionSettings
from rag.settings.tree import Settings
from rag.telemetry.trace import Trace
from rag.types import Float32Array, Kind, Query, TokenVectors
from retrieval.bm25 import Bm25Encoder
from retrieval.embedders.bulk import embed_all
from retrieval.embedders.embedder import ModelEmbedder
from retrieval.indexes.sparse_files import size_of

SETS = ("cranfield", "squad2-dev-a", "xquad-en", "xquad-de", "xquad-es", "xquad-zh")
VARIANTS = ("computed", "Float16", "Turbo8", "Turbo4")
DEPTHS = (8, 30, 100)
CUT = 96
"""Numbers of a vector that is cut, where the shortest way to store it takes 384 of 4 bits."""
ROUNDS = 3
TIMED = 20
"""Questions timed one by one, after as many others."""
SECONDS = 60.0
"""A reranker that is late would be left out."""


async def _compare(sets: Sequence[str]) -> None:
    embedder = build_embedder(Settings().embedder)
    memo = MemoEmbedder(embedder)
    for name in sets:
        corpus = corpus_of(name)
        await embed_all(memo, [question.text for question in corpus.questions], kind="query")
        await _ingest(corpus, memo)
        for variant in VARIANTS:
            await _measure(corpus, variant, memo, embedder)
    embedder.close()


async def _ingest(corpus: Corpus, memo: MemoEmbedder) -> None:
    speeds: dict[bool, list[float]] = {False: [], True: []}
    for stored in (False, True) * ROUNDS:
        async with temporary_service(reranker=_settings(stored)) as (service, queue):
            started = time.perf_counter()
            await ingest_corpus(service, queue, memo, corpus)
            speeds[stored].append(len(corpus.passages) / (time.perf_counter() - started))
    without, with_ = p50(speeds[False]), p50(speeds[True])
    print(f"{corpus.name:14} {without:.1f} documents/s, {with_:.1f} with token vectors", flush=True)


def _settings(stored: bool) -> dict[str, object]:
    return {"kind": "late_interaction", "stored": stored, "cache_mb": 0}


async def _measure(
    corpus: Corpus, variant: str, memo: MemoEmbedder, embedder: ModelEmbedder
) -> None:
    stored = variant != "computed"
    with _stored_as(variant) if stored else contextlib.nullcontext():
        async with temporary_service(reranker=_settings(stored)) as (service, queue):
            ingested = await ingest_corpus(service, queue, memo, corpus)
            index = service.settings.data_dir / "index"
            chunks = len(ingested.owners)
            own, all_ = (n / chunks / 1024 for n in (_own(index), size_of(index)))
            print(
                f"{corpus.name:14} {variant:9} {chunks} chunks, {own:.1f} KiB a chunk,"
                f" {all_:.1f} with all else",
                flush=True,
            )
            for depth in DEPTHS:
                reranker = LateInteractionSettings(stored=stored, depth=depth, seconds=SECONDS)
                run = await reranked_run(ingested, reranker, top_k=30)
                found = measure(corpus, run)["nDCG@10"]
                seconds = await _time(ingested, reranker, embedder)
                print(
                    f"{corpus.name:14} {variant:9} {depth:3} {found:.4f} {seconds:6.1f} ms",
                    flush=True,
                )
            if not stored:
                reranker = LateInteractionSettings(seconds=SECONDS)
                run = await reranked_run(ingested, reranker, top_k=30, tokens=Cut(memo, memo.dim))
                found = measure(corpus, run)["nDCG@10"]
                print(f"{corpus.name:14} cut to {CUT} {found:.4f}", flush=True)


class Cut:
    """`TokenEmbedder` whose vectors are turned at random and cut to `CUT` numbers."""

    def __init__(self, embedder: TokenEmbedder, dim: int) -> None:
        self._embedder = embedder
        square = np.random.default_rng(0).standard_normal((dim, dim), np.float32)
        self._turn = np.linalg.qr(square)[0][:, :CUT]

    async def embed_tokens(self, texts: Sequence[str], *, kind: Kind) -> list[TokenVectors]:
        """As `TokenEmbedder.embed_tokens`."""
        found = await self._embedder.embed_tokens(texts, kind=kind)
        return [replace(each, vectors=self._cut(each.vectors)) for each in found]

    def _cut(self, vectors: Float32Array) -> Float32Array:
        kept = vectors @ self._turn
        kept /= np.maximum(np.linalg.norm(kept, axis=1, keepdims=True), 1e-9)
        rounded: Float32Array = kept.astype(np.float16).astype(np.float32)
        return rounded


@contextlib.contextmanager
def _stored_as(variant: str) -> Iterator[None]:
    with patch("retrieval.edge_points.TOKENS_TYPE", getattr(qe.VectorStorageDatatype, variant)):
        yield


def _own(index: Path) -> int:
    return sum(size_of(folder) for folder in index.rglob("vector_storage-tokens"))


async def _time(
    ingested: Ingested, settings: LateInteractionSettings, embedder: ModelEmbedder
) -> float:
    """Milliseconds of a question alone, p50."""
    index, encoder = ingested.service.index, Bm25Encoder()
    async with contextlib.AsyncExitStack() as stack:
        retriever = build_retriever(
            ingested.service.settings.retrieval,
            settings,
            reranker=await open_reranker(
                settings, stack, tokens=embedder, encoder=encoder, index=index
            ),
            embedder=embedder,
            encoder=encoder,
            index=index,
        )
        seconds = []
        for question in ingested.corpus.questions[: 2 * TIMED]:
            started = time.perf_counter()
            await retriever.retrieve(Query(text=question.text, scope=ingested.scope), Trace())
            seconds.append((time.perf_counter() - started) * 1e3)
    return p50(seconds[TIMED:])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stored_tokens")
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(_compare(_options().sets))
