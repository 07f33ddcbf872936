"""Dense legs of readers of much: the engine drops what may not be read after the search."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import qdrant_edge as qe

from rag.types import Float32Array, Leg, Point, Readers, Scope, SparseVector
from retrieval.indexes import edge_points, edge_post_filter
from retrieval.indexes.edge import EdgeIndex
from retrieval.indexes.edge_post_filter import READABLE_FROM, post_filtered
from retrieval.indexes.edge_reads import ShardReader
from tests.edge_folder import DIM, open_index, random_points
from tests.fakes import sparse_leg
from tests.indexes import at

pytestmark = pytest.mark.anyio

ANNA: Readers = frozenset({"public", "user:anna", "group:sales", "group:law"})
READABLE: tuple[Readers, ...] = (
    frozenset({"public"}),
    frozenset({"group:sales", "group:tax"}),
    frozenset({"group:law", "user:anna"}),
)
HIDDEN: tuple[Readers, ...] = (frozenset({"group:tax"}), frozenset({"user:bert"}), frozenset())
ROUNDS, WRITTEN = 15, 60


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Post-filters in small shards; counts the requests that do, and the searches repeated.

    Vectors are compared in full, so that the search of a small shard is exact.
    """
    full = qe.QuantizationSearchParams(ignore=True)
    monkeypatch.setattr(edge_points, "RESCORED", full)
    monkeypatch.setattr(edge_post_filter, "READABLE_FROM", 1)
    monkeypatch.setattr(edge_post_filter, "SHARE_FROM", 0.0)
    counts: Counter[str] = Counter()
    query = ShardReader._query

    def counted(shard: ShardReader, requests: list[qe.QueryRequest]) -> list[list[qe.ScoredPoint]]:
        post = sum(bool(request.prefetches) for request in requests)
        counts["post-filtered"] += post
        counts["again"] += len(requests) == 1 and not post
        return query(shard, requests)

    monkeypatch.setattr(ShardReader, "_query", counted)
    return counts


def unit(seed: int, *, near: Float32Array | None = None) -> Float32Array:
    """Returns a random unit vector, or one near another."""
    drawn = np.random.default_rng(seed).standard_normal(DIM)
    moved = drawn if near is None else near + 0.02 * drawn
    made: Float32Array = (moved / np.linalg.norm(moved)).astype(np.float32)
    return made


async def test_matches_are_those_of_an_exact_filtered_search_after_any_change(
    folder: Path, scope: Scope, asked: Counter[str]
) -> None:
    """Writes, replacements, deletions and changes of ACLs, some of them near the questions."""
    rng = random.Random(5)
    index, theirs = open_index(folder), replace(scope, readers=ANNA)
    held: dict[str, Point] = {}
    questions = [unit(seed) for seed in range(4)]
    for round_ in range(ROUNDS):
        first = rng.randrange(round_ * WRITTEN + 1)  # some replace others
        points = [
            replace(point, chunk=replace(point.chunk, document_id=f"doc-{place % 40}"))
            for place, point in enumerate(random_points(WRITTEN, seed=round_, first=first), first)
        ]
        for n in range(WRITTEN):
            is_near = rng.random() < 0.5
            acl = rng.choice(READABLE if rng.random() < (0.1 if is_near else 0.8) else HIDDEN)
            points[n] = replace(points[n], acl=acl)
            if is_near:
                seed = 100 + round_ * WRITTEN + n
                points[n] = replace(points[n], dense=unit(seed, near=rng.choice(questions)))
        await index.upsert(scope, points)
        held |= {point.chunk.id: point for point in points}
        gone = rng.sample(sorted(held), 10)
        await index.delete(scope, gone)
        for chunk_id in gone:
            del held[chunk_id]
        for document_id in (f"doc-{n}" for n in rng.sample(range(40), 5)):
            acl = rng.choice(READABLE + HIDDEN)
            await index.set_acl(scope, document_id, acl)
            held |= {
                chunk_id: replace(point, acl=acl)
                for chunk_id, point in held.items()
                if point.chunk.document_id == document_id
            }
        await _assert_exact(index, theirs, held, questions, limit=rng.choice((1, 5, 20)))
    assert asked["post-filtered"] == ROUNDS * len(questions)
    assert 0 < asked["again"] < asked["post-filtered"]
    await index.close()


async def _assert_exact(
    index: EdgeIndex,
    theirs: Scope,
    held: dict[str, Point],
    questions: list[Float32Array],
    *,
    limit: int,
) -> None:
    may_read = [point for point in held.values() if point.acl & ANNA]
    for question in questions:
        leg = Leg(name="dense", vector=question, limit=limit)
        mine, exact, _ = await index.search(
            theirs, [leg, replace(leg, exact=True), sparse_leg("shared")]
        )
        assert mine == exact
        scores = {p.chunk.id: float(p.dense @ question) for p in may_read if p.dense is not None}
        best = sorted(scores.values(), reverse=True)[:limit]
        assert [match.score for match in mine] == pytest.approx(best, abs=1e-5)
        assert {match.chunk_id for match in mine} <= scores.keys()


async def test_hidden_chunks_nearer_than_all_others_change_nothing(
    folder: Path, scope: Scope, asked: Counter[str]
) -> None:
    index, theirs = open_index(folder), replace(scope, readers=ANNA)
    question = unit(1)
    leg = Leg(name="dense", vector=question, limit=10)
    points = [replace(p, acl=READABLE[0]) for p in random_points(300)]
    hidden = [
        replace(p, acl=HIDDEN[0], dense=unit(seed, near=question))
        for seed, p in enumerate(random_points(150, first=300))
    ]
    await index.upsert(scope, [*points, replace(hidden[0], dense=-question)])
    alone = await index.search(theirs, [leg])
    assert (asked["post-filtered"], asked["again"]) == (1, 0)
    await index.upsert(scope, hidden)
    assert await index.search(theirs, [leg]) == alone
    assert (asked["post-filtered"], asked["again"]) == (2, 1)
    await index.close()


async def test_fewer_readable_chunks_than_are_wanted_are_all_found(
    folder: Path, scope: Scope, asked: Counter[str]
) -> None:
    index = open_index(folder)
    points = [replace(p, acl=READABLE[0]) for p in random_points(5)]
    hidden = [replace(p, acl=HIDDEN[1]) for p in random_points(200, first=5)]
    await index.upsert(scope, [*points, *hidden])
    leg = Leg(name="dense", vector=unit(1), limit=20)
    [matches] = await index.search(replace(scope, readers=ANNA), [leg])
    assert {match.chunk_id for match in matches} == {point.chunk.id for point in points}
    assert asked["again"] == 1
    await index.close()


def test_only_graph_searches_of_readers_of_much_are_post_filtered() -> None:
    dense = Leg(name="dense", vector=unit(1), limit=10)
    terms = SparseVector(indices=np.array([1], np.int32), values=np.ones(1, np.float32))
    legs = [
        Leg(name="sparse", vector=terms, limit=10),
        dense,
        replace(dense, exact=True),
        replace(dense, where=(at("title", "eq", "x"),)),
    ]
    many = READABLE_FROM
    assert list(post_filtered(legs, ANNA, readable=many, points=2 * many)) == [1]
    assert not post_filtered(legs, ANNA, readable=many - 1, points=2 * many)
    assert not post_filtered(legs, ANNA, readable=many, points=20 * many)
    assert not post_filtered(legs, None, readable=2 * many, points=2 * many)
