#!/usr/bin/env bash
# qdrant-edge-py 0.9.0: one condition with two words takes several times as long as two conditions with one.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check qdrant-edge-py==0.9.0
mkdir "$folder/shard"
"$folder/venv/bin/python" - "$folder/shard" <<'PYTHON'
import random
import sys
import time

import qdrant_edge as qe

POINTS = 100_000
random.seed(0)
config = qe.EdgeConfig(
    vectors={},
    sparse_vectors={"words": qe.EdgeSparseVectorParams(modifier=qe.Modifier.Idf)},
)
shard = qe.EdgeShard.create(sys.argv[1], config)
shard.update(qe.UpdateOperation.create_field_index("acl", qe.PayloadSchemaType.Keyword))
for start in range(0, POINTS, 2_000):
    points = []
    for i in range(start, start + 2_000):
        words = sorted(random.sample(range(5_000), 20))
        vector = {"words": qe.SparseVector(words, [1.0] * 20)}
        payload = {"acl": ["public"] if i % 10 else [f"group-{i % 100}"]}
        points.append(qe.Point(i, vector, payload))
    shard.update(qe.UpdateOperation.upsert_points(points))
shard.optimize()

any_of = qe.Filter(must=[qe.FieldCondition(key="acl", match=qe.MatchAny(["group-10", "public"]))])
each = qe.Filter(
    should=[
        qe.FieldCondition(key="acl", match=qe.MatchValue("group-10")),
        qe.FieldCondition(key="acl", match=qe.MatchValue("public")),
    ]
)


def milliseconds(corpus):
    taken = []
    for i in range(60):
        query = qe.SparseVector([i, i + 100, i + 200], [1.0, 1.0, 1.0])
        request = qe.QueryRequest(
            query=qe.Query.Nearest(query, using="words"),
            limit=10,
            params=qe.SearchParams(idf=qe.IdfParams(corpus=corpus)) if corpus else None,
        )
        started = time.process_time()
        shard.query(request)
        taken.append(1e3 * (time.process_time() - started))
    return sorted(taken)[len(taken) // 2]


for round_ in range(3):
    print(f"no corpus {milliseconds(None):.2f}  MatchAny {milliseconds(any_of):.2f}  each {milliseconds(each):.2f} ms")
PYTHON
