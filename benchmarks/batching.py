"""The cost of batching for a single request, and its gain for many.

A lone question is embedded and a lone list of eight pairs is judged, through batcher and process;
the floor is the same encoder called directly in this process, and `CrossEncoder.predict`. And 32
callers, each with one question at a time, against `SentenceTransformer.encode` of all of them in
one pass.

The embedder is the default one; the cross-encoder has MiniLM's shape and random weights.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from benchmarks._common import Report, Target, p50
from benchmarks._models import MINILM, make_chunks, make_cross_encoder, quiet
from benchmarks._texts import questions, words
from benchmarks.ingest import sentence_transformer
from rag.types import Chunk, Query, Scope
from retrieval.embedders.embedder import LANES, BertEmbedder
from retrieval.embedders.loading import load_bert, minilm_folder
from retrieval.embedders.messages import Text
from retrieval.rerankers.cross_encoder import CrossEncoderReranker

ASKED = 100
BLOCK = 10
"""Calls of one side before the other's turn: for a while after a call its threads wait for more,
and keep a core from whoever comes next."""
PAIRS = 8
WINDOW = 70
"""Words of a passage."""
CALLERS = 32
CROWD = 2048
"""Questions of all callers together."""
ROUNDS = 3
LATE = Target(bound=3, by="difference")
SCOPE = Scope(tenant="bench", collection="none")
Call = Callable[[str], Awaitable[object]]


def run() -> Report:
    """Together, then alone."""
    return asyncio.run(_run())


async def _run() -> Report:
    report = Report()
    embedder = BertEmbedder(minilm_folder())
    try:
        await _crowd(report, embedder)
        await _embed(report, embedder)
    finally:
        embedder.close()
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder:
        await _rerank(report, make_cross_encoder(Path(folder), MINILM))
    return report


async def _embed(report: Report, embedder: BertEmbedder) -> None:
    encoder = load_bert(minilm_folder(), "cpu", "auto", LANES)

    async def ours(text: str) -> object:
        return await embedder.embed([text], kind="query")

    async def floor(text: str) -> object:
        return encoder([Text(text, "dense", "query")])

    await _alone(report, "a question embedded p50", ours, floor)


async def _rerank(report: Report, model: Path) -> None:
    from sentence_transformers import CrossEncoder

    reranker = CrossEncoderReranker(str(model), library="sentence_transformers", device=None)
    with quiet():
        encoder = CrossEncoder(str(model))
    passages = _passages()

    async def ours(text: str) -> object:
        return await reranker.score(Query(text=text, scope=SCOPE), passages)

    async def floor(text: str) -> object:
        return encoder.predict([(text, passage.text) for passage in passages])

    try:
        await _alone(report, f"{PAIRS} pairs judged p50", ours, floor)
    finally:
        reranker.close()


async def _alone(report: Report, name: str, ours: Call, floor: Call) -> None:
    taken: dict[Call, list[float]] = {ours: [], floor: []}
    texts = questions(ASKED)
    for start in range(0, ASKED, BLOCK):
        for call in (ours, floor):
            for number, text in enumerate(texts[start : start + BLOCK]):
                started = time.perf_counter()
                await call(text)
                if number:  # the first one wakes its threads
                    taken[call].append((time.perf_counter() - started) * 1e3)
    report.add(name, p50(taken[ours]), unit="ms", floor=p50(taken[floor]), target=LATE)


async def _crowd(report: Report, embedder: BertEmbedder) -> None:
    texts = questions(CROWD)
    encode = sentence_transformer()
    ours, floor = [], []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        await _together(embedder, texts)
        between = time.perf_counter()
        encode(texts)
        ours.append(CROWD / (between - started))
        floor.append(CROWD / (time.perf_counter() - between))
    report.add(
        f"{CALLERS} callers embed",
        p50(ours),
        unit="questions/s",
        floor=p50(floor),
        target=Target(bound=0.8, by="ratio", at_least=True),
    )


async def _together(embedder: BertEmbedder, texts: Sequence[str]) -> None:
    waiting = list(texts)

    async def caller() -> None:
        while waiting:
            await embedder.embed([waiting.pop()], kind="query")

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


def _passages() -> list[Chunk]:
    text = words()
    return make_chunks([" ".join(text[i * WINDOW : (i + 1) * WINDOW]) for i in range(PAIRS)])
