#!/usr/bin/env bash
# qdrant-edge-py 0.9.0: a date with minutes and a time zone is stored, and no range ever finds it.
#
# Seen 2026-11-30 with qdrant-edge-py 0.9.0 on Python 3.11, Linux x86-64.
#
# One would expect: a payload value that Qdrant takes for a datetime in one spelling of ISO 8601 is
# one in the next, or is refused. `datetime.isoformat(timespec="minutes")` writes it with minutes,
# and so do HTML's <time> and many calendars.
# What happens: without a zone, minutes are enough; with one, seconds are needed. The point is
# stored, the datetime index is built without a word, and a range leaves it out. As a bound of the
# range itself, the same text is refused.
#
# Output seen, whether a range over the whole day finds the point:
#   2024-05-31T12:00:00+00:00  True
#   2024-05-31T12:00:00Z       True
#   2024-05-31                 True
#   2024-05-31T12:00           True
#   2024-05-31T12:00+00:00     False
#   2024-05-31T12:00Z          False
#   20240531T120000Z           False
#   as a bound: ValueError
#
# It matters because a filter on dates loses documents without a trace, and only those whose source
# was careful enough to name a zone. Write datetimes as RFC 3339, with seconds, before they are
# stored. Exits with 1 if any of this is no longer so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check qdrant-edge-py==0.9.0
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
import uuid
from datetime import datetime, timezone
from pathlib import Path

import qdrant_edge as qe

NOON = datetime(2024, 5, 31, 12, tzinfo=timezone.utc)
SEEN = {
    NOON.isoformat(): True,
    "2024-05-31T12:00:00Z": True,
    "2024-05-31": True,
    "2024-05-31T12:00": True,
    NOON.isoformat(timespec="minutes"): False,
    "2024-05-31T12:00Z": False,
    "20240531T120000Z": False,
}

folder = Path(sys.argv[1]) / "shard"
folder.mkdir()
vectors = {"dense": qe.EdgeVectorParams(size=2, distance=qe.Distance.Dot)}
shard = qe.EdgeShard.create(str(folder), qe.EdgeConfig(vectors=vectors))
shard.update(qe.UpdateOperation.create_field_index("at", qe.PayloadSchemaType.Datetime))
points = [
    qe.Point(str(uuid.UUID(int=number + 1)), {"dense": [1.0, 0.0]}, {"at": value})
    for number, value in enumerate(SEEN)
]
shard.update(qe.UpdateOperation.upsert_points(points))
day = qe.RangeDateTime(gte="2024-05-31T00:00:00Z", lt="2024-06-01T00:00:00Z")
found = shard.query(
    qe.QueryRequest(
        limit=len(SEEN),
        query=qe.Query.Nearest([1.0, 0.0], using="dense"),
        filter=qe.Filter(must=[qe.FieldCondition(key="at", range=day)]),
        with_payload=True,
    )
)
values = {point.payload["at"] for point in found}
for value, expected in SEEN.items():
    print(f"{value:27}{value in values}")
    if (value in values) != expected:
        sys.exit(f"It was {expected} with 0.9.0.")
try:
    qe.RangeDateTime(gte="2024-05-31T12:00Z")
    sys.exit("As a bound it was refused with 0.9.0.")
except ValueError as error:
    print(f"as a bound: {type(error).__name__}")
shard.close()
PYTHON
