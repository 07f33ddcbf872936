#!/usr/bin/env bash
# qdrant-edge-py 0.9.0: two strings of a payload take as long to hand over as a vector of 384 numbers.
#
# Seen 2026-11-30 with qdrant-edge-py 0.9.0 on Python 3.11.
#
# One would expect: the vectors are most of a point. A dozen short strings of metadata hardly count beside
# 384 floats.
# What happens: `Point(…)` converts each value of a payload by trying one type after another, so a string
# takes some 3 µs, and one in a list within a dictionary (what a filter on a field of documents needs) 10.
# To read the same payload back takes a twentieth.
#
# Output seen, CPU time for a point:
#   a vector of 384                     4.2 µs
#   and 12 strings                     35.6 µs
#   and 12 of {"kind": ["value"]}     128.6 µs
#
# It matters because a point with metadata costs ten to thirty times what its vector does: of the copy of a
# shard of 4,473 passages, nearly half was this conversion. Do not store a value twice in a payload, and join
# what is never filtered into one string. Exits with 1 once nested strings cost less than five vectors.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check qdrant-edge-py==0.9.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import time

import qdrant_edge as qe

POINTS, ROUNDS, FIELDS = 2_000, 5, 12
vector = {"dense": [0.1] * 384}
names = [f"field_{number}" for number in range(FIELDS)]


def cost(name, payload):
    """Prints and returns the CPU time of making a point, in µs: the best of some rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(POINTS):
            qe.Point(1, vector, payload)
        best = min(best, time.process_time() - started)
    print(f"{name:32} {best / POINTS * 1e6:6.1f} µs")
    return best


alone = cost("a vector of 384", None)
cost(f"and {FIELDS} strings", dict.fromkeys(names, "value"))
nested = cost(f'and {FIELDS} of {{"kind": ["value"]}}', {name: {"kind": ["value"]} for name in names})
sys.exit(nested - alone < 5 * alone)
PYTHON
