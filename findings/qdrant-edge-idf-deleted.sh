#!/usr/bin/env bash
# qdrant-edge-py 0.9.0: IDF counts points that were deleted or replaced.
#
# Seen 2026-11-29 with qdrant-edge-py 0.9.0 on Python 3.11, Linux x86-64.
#
# A sparse vector with `modifier=Idf` is scored with ln(1 + (N - n + 0.5) / (n + 0.5)). One expects
# N and n to count the points that are there.
# 1. After `delete_points` they still count the deleted ones, until the shard is closed and loaded.
#    Inserted again, a point counts twice.
# 2. Where `optimize` has built an HNSW graph, a point that is replaced by `upsert_points`, or whose
#    payload alone is changed, is copied to another segment, and both count. Closing and loading the
#    shard does not help.
# 3. With an IDF corpus, even an empty filter, both count right at once:
#    SearchParams(idf=IdfParams(corpus=Filter())).
#
# Output seen, the points that are counted for each that is there:
#   10 points hold the term       1.0
#   5 deleted, the same inserted  1.5
#   loaded again                  1.0
#   graph, 300 of 1200 replaced   1.25
#   loaded again                  1.25
#   with an empty corpus filter   1.0
#
# It matters because BM25 scores drift with every change to a collection, and never come back where
# there is a graph. Exits with 1 if any of this is no longer so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check qdrant-edge-py==0.9.0
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import math
import random
import sys
import uuid
from pathlib import Path

import qdrant_edge as qe

DIM = 384
LIVE = qe.SearchParams(idf=qe.IdfParams(corpus=qe.Filter()))
random.seed(0)
ids = [str(uuid.UUID(int=i + 1)) for i in range(1200)]


def create(folder: Path) -> qe.EdgeShard:
    folder.mkdir()
    config = qe.EdgeConfig(
        vectors={"dense": qe.EdgeVectorParams(size=DIM, distance=qe.Distance.Dot)},
        sparse_vectors={"sparse": qe.EdgeSparseVectorParams(modifier=qe.Modifier.Idf)},
        optimizers=qe.EdgeOptimizersConfig(indexing_threshold=1000, default_segment_number=1),
    )
    return qe.EdgeShard.create(str(folder), config)


def insert(shard: qe.EdgeShard, names: list[str]) -> None:
    points = [
        qe.Point(
            name,
            {"dense": [random.random() for _ in range(DIM)], "sparse": qe.SparseVector([7], [1.0])},
            {},
        )
        for name in names
    ]
    shard.update(qe.UpdateOperation.upsert_points(points))


def counted(shard: qe.EdgeShard, held: int, params: qe.SearchParams | None = None) -> float:
    """N of all points, which all hold the term, by how many there are: N = n here."""
    query = qe.Query.Nearest(qe.SparseVector([7], [1.0]), using="sparse")
    [best] = shard.query(qe.QueryRequest(limit=1, query=query, params=params))
    n = 0.5 / math.expm1(best.score) - 0.5  # ln(1 + 0.5 / (n + 0.5))
    return round(n / held, 2)


def say(label: str, value: float, expected: float) -> None:
    print(f"{label:30}{value}")
    if value != expected:
        sys.exit(f"It was {expected} with 0.9.0.")


folder = Path(sys.argv[1]) / "small"
shard = create(folder)
insert(shard, ids[:10])
say("10 points hold the term", counted(shard, 10), 1.0)
shard.update(qe.UpdateOperation.delete_points(ids[:5]))
insert(shard, ids[:5])
say("5 deleted, the same inserted", counted(shard, 10), 1.5)
shard.close()
shard = qe.EdgeShard.load(str(folder))
say("loaded again", counted(shard, 10), 1.0)
shard.close()

folder = Path(sys.argv[1]) / "graph"
shard = create(folder)
insert(shard, ids)
shard.optimize()
insert(shard, ids[:300])
say("graph, 300 of 1200 replaced", counted(shard, 1200), 1.25)
shard.close()
shard = qe.EdgeShard.load(str(folder))
say("loaded again", counted(shard, 1200), 1.25)
say("with an empty corpus filter", counted(shard, 1200, LIVE), 1.0)
shard.close()
PYTHON
