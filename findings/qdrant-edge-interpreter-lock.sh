#!/usr/bin/env bash
# qdrant-edge-py 0.9.0: while a shard is written, optimized, loaded or searched, no other Python thread runs.
#
# Seen 2026-11-30 with qdrant-edge-py 0.9.0 on Python 3.11.
#
# One would expect: native code that works for seconds without a Python object releases the interpreter
# lock, as NumPy, sqlite3 and ONNX Runtime do, so `asyncio.to_thread(shard.optimize)` leaves the event loop
# free.
# What happens: every method keeps the lock until it returns. To build the graph of 5,000 vectors of 64
# dimensions stops all other threads for seconds, of 20,000 for 25 s on two busy cores.
#
# Output seen; the other thread wants to run each millisecond:
#   nothing     1.00 s, the other thread ran   911 times
#   upsert      0.13 s, the other thread ran     1 times
#   searches    0.12 s, the other thread ran    12 times (between the searches)
#   optimize    3.65 s, the other thread ran     1 times
#   load        0.21 s, the other thread ran     1 times
#
# It matters because threads do not help: a service that searches and tidies its index in one process
# answers nobody meanwhile, health checks included. Build graphs in another process and load the files that
# it made. Exits with 1 once the other thread runs during `optimize`.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check qdrant-edge-py==0.9.0
mkdir "$folder/shard"
"$folder/venv/bin/python" - "$folder/shard" <<'PYTHON'
import random
import sys
import threading
import time

import qdrant_edge as qe

POINTS, DIM = 5_000, 64
random.seed(0)
folder, ticks = sys.argv[1], 0


def tick():
    global ticks
    while True:
        ticks += 1
        time.sleep(0.001)


def watched(name, call):
    """Prints how often the other thread ran during a call; returns it for each second."""
    before, started = ticks, time.perf_counter()
    call()
    ran, seconds = ticks - before, time.perf_counter() - started
    print(f"{name:9} {seconds:6.2f} s, the other thread ran {ran:5} times")
    return ran / seconds


config = qe.EdgeConfig(
    vectors={"dense": qe.EdgeVectorParams(size=DIM, distance=qe.Distance.Dot)},
    optimizers=qe.EdgeOptimizersConfig(indexing_threshold=1),
)
shard = qe.EdgeShard.create(folder, config)
vectors = [[random.gauss(0, 1) for _ in range(DIM)] for _ in range(POINTS)]
points = [qe.Point(number, {"dense": vector}, {}) for number, vector in enumerate(vectors, 1)]
nearest = qe.QueryRequest(
    limit=10,
    query=qe.Query.Nearest(vectors[0], using="dense"),
    params=qe.SearchParams(exact=True),
)
threading.Thread(target=tick, daemon=True).start()
free = watched("nothing", lambda: time.sleep(1))
watched("upsert", lambda: shard.update(qe.UpdateOperation.upsert_points(points)))
watched("searches", lambda: [shard.query(nearest) for _ in range(500)])
optimizing = watched("optimize", shard.optimize)
shard.close()
watched("load", lambda: qe.EdgeShard.load(folder))
sys.exit(optimizing > free / 20)
PYTHON
