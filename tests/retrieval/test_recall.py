"""Recall of vector search under filters: the graph's layouts, and the measurement of recall.

Short vectors and a low bound for exact search stand for many points: a graph of thousands is asked
as one of a million would be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qdrant_edge as qe

from benchmarks._graphs import FIELDS, LATER, Graph, Layout, edge, server, tenant_alone
from rag.types import Float32Array, Leg, Point, Scope, SparseVector
from retrieval.indexes import edge_points
from retrieval.indexes.edge import EdgeIndex
from retrieval.indexes.edge_rebuild import rebuild
from retrieval.indexes.qdrant_points import query_of
from retrieval.recall import Recall, measure
from tests.fakes import MemoryIndex, make_chunk

pytestmark = pytest.mark.anyio
DIM, CLUSTERS, COUNT, ASKED = 48, 60, 4_000, 50
TERMS = SparseVector(indices=np.array([1], np.int32), values=np.ones(1, np.float32))


def clustered(count: int) -> Float32Array:
    """Returns unit vectors around random centres."""
    random = np.random.default_rng(7)
    centres = random.standard_normal((CLUSTERS, DIM))
    rows = centres[random.integers(0, CLUSTERS, count)] + random.standard_normal((count, DIM))
    unit: Float32Array = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def lowest(layout: Layout, folder: Path) -> tuple[float, float]:
    """Returns recall@10 without a filter, and the lowest recall@10 under filters."""
    rows = clustered(COUNT + ASKED)
    graph = Graph(replace(layout, full_scan_kb=20), rows[ASKED:], folder)
    plain, _ = graph.recall(rows[:ASKED])
    filtered = [
        graph.recall(rows[:ASKED], field, kept)[0]
        for kept in (10, 50, 90)
        for field in (*FIELDS, *LATER)
    ]
    graph.close()
    return plain, min(filtered)


@pytest.mark.parametrize("layout", [server, edge])
def test_the_graph_finds_the_nearest_under_filters_that_leave_out_any_point(
    layout: Callable[[], Layout], tmp_path: Path
) -> None:
    plain, filtered = lowest(layout(), tmp_path)
    assert plain >= 0.98
    assert filtered >= 0.97


def test_links_among_a_tenants_points_alone_do_not(tmp_path: Path) -> None:
    _, filtered = lowest(tenant_alone(), tmp_path)
    assert filtered < 0.95


# Measurement of recall on a user's index


def points(count: int) -> list[Point]:
    return [
        Point(chunk=chunk, dense=row, sparse=TERMS)
        for n, row in enumerate(clustered(count))
        for chunk in [make_chunk(f"text {n}", document_id=f"doc {n // 50}", position=n % 50)]
    ]


def marked(point: Point, **fields: Any) -> Point:
    return replace(point, chunk=replace(point.chunk, **fields))


def told(found: list[Recall]) -> dict[tuple[str | None, str | None], int]:
    return {(each.field, each.kind): each.queries for each in found}


async def test_an_exact_index_misses_nothing_whatever_is_filtered(scope: Scope) -> None:
    index = MemoryIndex()
    assert await measure(index, scope) == []
    meta = {"year": 1999, "day": "2024-05-31", "draft": True, "tags": ("a", "b"), "title": "own"}
    first, *rest = points(130)
    await index.upsert(scope, [marked(first, page=3, meta=meta), *rest[:1]])
    found = await measure(index, scope)
    assert told(found) == {
        (None, None): 2,
        ("year", "number"): 1,
        ("day", "keyword"): 1,
        ("day", "date"): 1,
        ("draft", "flag"): 1,
        ("tags", "keyword"): 1,
        ("page", "number"): 1,
    }
    assert all(each.recall == 1.0 and each.enough for each in found)
    many = {f"field {n}": n for n in range(30)}
    await index.upsert(scope, [marked(each, meta=many) for each in rest])
    found = await measure(index, scope)
    assert [each.queries for each in found] == [100, *[found[1].queries] * 8]


@pytest.fixture
def always_linked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the embedded index build a graph and search it if a filter keeps a hundred chunks."""

    async def rebuilt_here(source: Path, target: Path, mean_length: float, *, graph: bool) -> None:
        rebuild(source, target, mean_length, graph=graph)

    monkeypatch.setattr("retrieval.indexes.edge_upkeep.run_child", rebuilt_here)
    monkeypatch.setattr("retrieval.indexes.edge_upkeep.INDEX_FROM", 1_000)
    monkeypatch.setattr(edge_points, "INDEXING_KB", 20)
    monkeypatch.setattr(edge_points, "FULL_SCAN_KB", 20)


@pytest.mark.usefixtures("always_linked")
@pytest.mark.parametrize("acorn", [True, False])
async def test_a_graph_that_misses_what_a_filter_keeps_is_found_out(
    folder: Path, scope: Scope, monkeypatch: pytest.MonkeyPatch, *, acorn: bool
) -> None:
    params = qe.AcornSearchParams(enable=acorn, max_selectivity=1.0)
    monkeypatch.setattr(edge_points, "ACORN", params)
    drawn = np.random.default_rng(0).integers(0, 15, COUNT)
    index = EdgeIndex(folder, dim=DIM)
    await index.upsert(
        scope,
        [
            marked(each, meta={"word": f"w{n}", "number": place, "day": f"2024-05-{n + 1:02}"})
            for place, (each, n) in enumerate(zip(points(COUNT), drawn, strict=True))
        ],
    )
    await index.maintain(scope)
    found = {(each.field, each.kind): each for each in await measure(index, scope)}
    await index.close()
    assert {each.queries for each in found.values()} == {100}
    assert found[None, None].enough
    assert [found[key].enough for key in (("word", "keyword"), ("day", "keyword"))] == [acorn] * 2
    assert all(each.enough for each in found.values()) == acorn


def test_an_exact_search_is_asked_of_a_server_as_such(scope: Scope) -> None:
    leg = Leg(name="dense", vector=clustered(1)[0], limit=1)
    for exact in (False, True):
        params = query_of(scope, replace(leg, exact=exact), rescore=False).params
        assert params is not None
        assert params.exact == exact
