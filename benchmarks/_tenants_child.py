"""`python -m benchmarks._tenants_child build|ask FOLDER COUNT`: an index of so many tenants."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks._scale_child import ASKED_WORDS, DEPTH, DIM, generated, text_of, unit
from rag.types import Leg, Scope
from retrieval.bm25 import Bm25Encoder
from retrieval.indexes.edge import EdgeIndex

CHUNKS = 20


def main() -> None:
    """Builds or asks, and prints what that took."""
    way, folder, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    work = build(folder, count) if way == "build" else ask(folder, count)
    json.dump(asyncio.run(work), sys.stdout)


def _scope(number: int) -> Scope:
    return Scope(tenant=f"tenant-{number}", collection="scale")


async def build(folder: Path, count: int) -> dict[str, float]:
    """CPU seconds of writing all tenants' chunks."""
    index = EdgeIndex(folder, dim=DIM)
    [points] = generated(CHUNKS)
    started = time.process_time()
    for number in range(count):
        await index.upsert(_scope(number), points)
        await index.maintain(_scope(number))
    taken = time.process_time() - started
    await index.close()
    return {"seconds": taken}


async def ask(folder: Path, count: int) -> dict[str, object]:
    """CPU milliseconds of each tenant's first and next question, and what stays open."""
    import psutil

    here = psutil.Process()
    random, encoder = np.random.default_rng(1), Bm25Encoder()
    index = EdgeIndex(folder, dim=DIM)
    before = here.memory_info()
    taken: dict[str, list[float]] = {"first": [], "next": []}
    for way, times in taken.items():
        for number in range(count):
            dense = unit(random.standard_normal((1, DIM), np.float32))[0]
            sparse = encoder.encode([text_of(random, ASKED_WORDS)])[0]
            legs = [
                Leg(name="dense", vector=dense, limit=DEPTH),
                Leg(name="sparse", vector=sparse, limit=DEPTH),
            ]
            started = time.process_time()
            found = await index.search(_scope(number), legs)
            times.append((time.process_time() - started) * 1e3)
            assert found[0], way
    after = here.memory_info()
    held = {
        "own": (after.rss - after.shared) - (before.rss - before.shared),
        "files": here.num_fds(),
        "threads": here.num_threads(),
        "maps": len(here.memory_maps(grouped=False)),
    }
    await index.close()
    return taken | held


if __name__ == "__main__":
    main()
