"""`python -m benchmarks._scale_child build|ask FOLDER COUNT`: an index of generated chunks.

A process of its own for each, so that what it holds is the index's; JSON comes out.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rag.types import Chunk, Float32Array, Leg, Point, Scope
from retrieval.bm25 import Bm25Encoder
from retrieval.indexes.edge import EdgeIndex

DIM = 384
WORDS_A_CHUNK = 80
VOCABULARY = 50_000
AT_ONCE = 1_000
ASKED = 300
ASKED_WORDS = 6
DEPTH = 100
TOP_K = 10
SCOPE = Scope(tenant="bench", collection="scale")


def main() -> None:
    """Builds or asks, and prints what that took."""
    way, folder, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    work = build(folder, count) if way == "build" else ask(folder)
    json.dump(asyncio.run(work), sys.stdout)


async def build(folder: Path, count: int) -> dict[str, float]:
    """Seconds spent in writing, and in building the graph."""
    index = EdgeIndex(folder, dim=DIM)
    writing = 0.0
    for points in generated(count):
        started = time.perf_counter()
        await index.upsert(SCOPE, points)
        writing += time.perf_counter() - started
    started = time.perf_counter()
    await index.maintain(SCOPE)
    built = time.perf_counter() - started
    await index.close()
    return {"written": writing, "built": built}


async def ask(folder: Path) -> dict[str, object]:
    """Milliseconds of each hybrid question, fetch included, and the process's own memory."""
    import psutil

    random, encoder = np.random.default_rng(1), Bm25Encoder()
    index = EdgeIndex(folder, dim=DIM)
    before = psutil.Process().memory_info()
    taken = []
    for _ in range(ASKED):
        dense = unit(random.standard_normal((1, DIM), np.float32))[0]
        sparse = encoder.encode([text_of(random, ASKED_WORDS)])[0]
        legs = [
            Leg(name="dense", vector=dense, limit=DEPTH),
            Leg(name="sparse", vector=sparse, limit=DEPTH),
        ]
        started = time.perf_counter()
        found = await index.search(SCOPE, legs)
        await index.fetch(SCOPE, [match.chunk_id for match in found[0][:TOP_K]])
        taken.append((time.perf_counter() - started) * 1e3)
    after = psutil.Process().memory_info()
    own = (after.rss - after.shared) - (before.rss - before.shared)
    await index.close()
    return {"taken": taken, "resident": after.rss - before.rss, "own": own}


def generated(count: int) -> Iterator[list[Point]]:
    random, encoder = np.random.default_rng(0), Bm25Encoder()
    for first in range(0, count, AT_ONCE):
        texts = [text_of(random, WORDS_A_CHUNK) for _ in range(min(AT_ONCE, count - first))]
        dense = unit(random.standard_normal((len(texts), DIM), np.float32))
        counted = encoder.encode(texts)
        yield [
            Point(chunk=_chunk(first + n, text), dense=dense[n], sparse=counted[n])
            for n, text in enumerate(texts)
        ]


def text_of(random: np.random.Generator, words: int) -> str:
    return " ".join(f"word{n}" for n in random.zipf(1.3, words) % VOCABULARY)


def unit(rows: Float32Array) -> Float32Array:
    unit: Float32Array = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _chunk(position: int, text: str) -> Chunk:
    document = position // 50
    return Chunk(
        id=str(uuid.UUID(int=position)),
        document_id=f"document-{document}",
        version="",
        position=position,
        text=text,
        start=0,
        end=len(text),
        title=f"Document {document}",
        uri=f"bench:{document}",
    )


if __name__ == "__main__":
    main()
