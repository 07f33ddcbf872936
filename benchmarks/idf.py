"""The cost of IDF over one tenant's chunks, at 150,000 chunks.

Measured: p50 of the sparse leg as it is asked in a tenant's own shard (within the tenant, IDF over
the shard), in a shard that tenants share (IDF over the tenant), and with IDF over the points that
are there. The floor is the leg without any filter. They take turns, question by question. The
engine is Qdrant Edge's, which is the server's too, in this process, and all chunks are one
tenant's, the worst case. Terms are drawn as words are, the commonest most often.
"""

from __future__ import annotations

import tempfile
import time
import uuid

import numpy as np
import numpy.typing as npt
import qdrant_edge as qe

from benchmarks._common import Report, Target, p50
from retrieval.indexes.edge_points import DENSE, LIVE, SPARSE, layout

CHUNKS = 150_000
TERMS = 50_000
LENGTHS = (20, 90)
QUESTIONS, ASKED, STOPPED = 200, 9, 20
"""Questions, terms of one, and the commonest terms, which no question has: stop words."""
WRITTEN_AT_ONCE = 1_000
TENANT = qe.Filter(must=[qe.FieldCondition(key="tenant", match=qe.MatchValue("acme"))])
Shares = npt.NDArray[np.float64]
"""How often one of a term and all that are commoner is drawn."""
OWN_SHARD = Target(bound=1.2, by="ratio")


def run() -> Report:
    """Fill, then ask."""
    report = Report()
    random = np.random.default_rng(0)
    shares = 1 / np.arange(1, TERMS + 1)
    upto = np.cumsum(shares / shares.sum())
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder:
        shard = qe.EdgeShard.create(folder, layout(dim=4))
        shard.update(qe.UpdateOperation.create_field_index("tenant", qe.PayloadSchemaType.Keyword))
        for _ in range(0, CHUNKS, WRITTEN_AT_ONCE):
            points = [_point(_terms(random, upto)) for _ in range(WRITTEN_AT_ONCE)]
            shard.update(qe.UpdateOperation.upsert_points(points))
        shard.optimize()
        vectors = [_question(random, upto) for _ in range(QUESTIONS)]
        _compare(report, shard, vectors)
        shard.close()
    report.notes.append(f"{CHUNKS} chunks, {QUESTIONS} questions of {ASKED} terms")
    return report


def _compare(report: Report, shard: qe.EdgeShard, vectors: list[qe.SparseVector]) -> None:
    over_tenant = qe.SearchParams(idf=qe.IdfParams(corpus=TENANT))
    variants = {
        "over all": (None, None),
        "in its own shard": (TENANT, None),
        "in a shared shard": (TENANT, over_tenant),
        "over what is there": (TENANT, LIVE),
    }
    times: dict[str, list[float]] = {variant: [] for variant in variants}
    for vector in vectors:
        for variant, (where, params) in variants.items():
            request = qe.QueryRequest(
                limit=100,
                query=qe.Query.Nearest(vector, using=SPARSE),
                filter=where,
                params=params,
                with_payload=False,
            )
            started = time.perf_counter()
            shard.query(request)
            times[variant].append((time.perf_counter() - started) * 1e3)
    floor = p50(times.pop("over all"))
    for variant, each in times.items():
        target = OWN_SHARD if variant == "in its own shard" else None
        report.add(f"sparse leg, {variant}", p50(each), unit="ms", floor=floor, target=target)


def _terms(random: np.random.Generator, upto: Shares) -> list[int]:
    drawn = np.searchsorted(upto, random.random(random.integers(*LENGTHS)))
    return [int(term) for term in np.unique(np.minimum(drawn, TERMS - 1))]


def _point(terms: list[int]) -> qe.Point:
    sparse = qe.SparseVector(terms, [1.0] * len(terms))
    return qe.Point(str(uuid.uuid4()), {DENSE: [1.0, 0, 0, 0], SPARSE: sparse}, {"tenant": "acme"})


def _question(random: np.random.Generator, upto: Shares) -> qe.SparseVector:
    rare = upto[STOPPED] + (1 - upto[STOPPED]) * random.random(ASKED)
    terms = [int(t) for t in np.unique(np.minimum(np.searchsorted(upto, rare), TERMS - 1))]
    return qe.SparseVector(terms, [1.0] * len(terms))
