"""A child process: makes a shard's BM25 weights and HNSW graph anew.

`python -m retrieval.rebuild FOLDER MEAN_LENGTH`, on a copy that nobody else has open. Qdrant Edge
builds with the interpreter locked, 15 s for 50,000 points: in the parent nothing else would run.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as qe

from rag.types import SparseVector
from retrieval.edge_points import SPARSE
from retrieval.shard import PAGE, Stats
from retrieval.sparse import reweigh


def rebuild(folder: Path, mean_length: float) -> None:
    """Reweighs every point for `mean_length`, then builds the graph."""
    shard = qe.EdgeShard.load(str(folder))
    stats = Stats(**json.loads((folder / "stats.json").read_text()))
    offset = None
    while True:
        request = qe.ScrollRequest(
            offset=offset, limit=PAGE, with_payload=["length", "mean"], with_vector=[SPARSE]
        )
        records, offset = shard.scroll(request)
        _reweigh(shard, records, mean_length)
        if offset is None:
            break
    shard.optimize()
    shard.flush()
    shard.close()
    stats.indexed = stats.points
    stats.lowest_mean = stats.highest_mean = mean_length
    (folder / "stats.json").write_text(json.dumps(asdict(stats)))


def _reweigh(shard: qe.EdgeShard, records: list[qe.Record], mean_length: float) -> None:
    changed = []
    for record in records:
        payload = record.payload or {}
        if payload["mean"] == mean_length:
            continue
        vector: Any = record.vector
        stored = vector[SPARSE]
        weights = SparseVector(
            indices=np.array(stored.indices, np.int32), values=np.array(stored.values, np.float32)
        )
        new = reweigh(
            weights, length=payload["length"], old_mean=payload["mean"], new_mean=mean_length
        )
        sparse = qe.SparseVector(new.indices.tolist(), new.values.tolist())
        changed.append(qe.PointVectors(record.id, {SPARSE: sparse}))
    if changed:
        shard.update(qe.UpdateOperation.update_vectors(changed))
        ids = [p.id for p in changed]
        shard.update(qe.UpdateOperation.set_payload(ids, {"mean": mean_length}))


if __name__ == "__main__":
    os.nice(10)  # searches come first
    rebuild(Path(sys.argv[1]), float(sys.argv[2]))
