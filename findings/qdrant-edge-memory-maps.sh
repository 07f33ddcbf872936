#!/usr/bin/env bash
# qdrant-edge-py 0.9.0: a shard with a single point takes some 46 memory maps while it is open.
#
# Seen 2026-11-30 with qdrant-edge-py 0.9.0 on Python 3.11, Linux x86-64.
#
# One would expect: an embedded shard costs a few open files, and the limit to look at, with one
# shard for each tenant, is that of file descriptors (`ulimit -n`).
# What happens: a shard with one dense and one sparse vector and a keyword index holds one
# file open, and maps dozens into memory. Linux allows a process 65,530 maps (`vm.max_map_count`), so
# a process can hold some 1,400 such shards, whatever `ulimit -n` says, and whatever memory is free.
# Beyond that, opening one fails with "Cannot allocate memory".
#
# Output seen, for each of 20 shards with one point:
#   maps       46
#   files      1
#
# It matters because a service with a shard for each tenant works in every test and stops at a number
# of tenants that no document names, with an error that speaks of memory while gigabytes are free.
# Close shards that were not used for long, or raise `vm.max_map_count`. Exits with 1 if a shard takes
# fewer than 32 maps, or more than 8 files.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check qdrant-edge-py==0.9.0
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import os
import sys
import uuid
from pathlib import Path

import qdrant_edge as qe

SHARDS = 20
config = qe.EdgeConfig(
    vectors={"dense": qe.EdgeVectorParams(size=384, distance=qe.Distance.Dot)},
    sparse_vectors={"sparse": qe.EdgeSparseVectorParams(modifier=qe.Modifier.Idf)},
)
point = qe.Point(
    str(uuid.UUID(int=1)),
    {"dense": [1.0] + [0.0] * 383, "sparse": qe.SparseVector([7], [1.0])},
    {"text": "one", "id": "a"},
)


def counts() -> tuple[int, int]:
    with open("/proc/self/maps") as maps:
        return sum(1 for _ in maps), len(os.listdir("/proc/self/fd"))


def opened(number: int) -> qe.EdgeShard:
    folder = Path(sys.argv[1]) / str(number)
    folder.mkdir()
    shard = qe.EdgeShard.create(str(folder), config)
    shard.update(qe.UpdateOperation.create_field_index("id", qe.PayloadSchemaType.Keyword))
    shard.update(qe.UpdateOperation.upsert_points([point]))
    return shard


first = opened(0)
before = counts()
shards = [opened(number) for number in range(1, SHARDS + 1)]
maps, files = ((now - then) // SHARDS for now, then in zip(counts(), before))
print(f"{'maps':11}{maps}")
print(f"{'files':11}{files}")
for shard in (first, *shards):
    shard.close()
if maps < 32 or files > 8:
    sys.exit("With 0.9.0 a shard took dozens of maps, and one file.")
PYTHON
