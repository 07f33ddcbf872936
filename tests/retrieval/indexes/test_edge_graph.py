"""Recall of the embedded index's graph, and shards that were made with the layout before it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import qdrant_edge as qe

from rag.types import Condition, Float32Array, Leg, Point, Scope
from retrieval.indexes import edge_points, edge_post_filter, edge_upkeep
from retrieval.indexes.edge import EdgeIndex
from retrieval.indexes.edge_rebuild import rebuild
from tests.edge_folder import generation, shard_of
from tests.fakes import make_chunk, make_points

pytestmark = pytest.mark.anyio

DIM, COUNT, CENTRES, GROUPS, K = 128, 6_000, 1_500, 100, 10
QUESTIONS = 100
KEPT = (1, 10, 50, 90, 99)


def around(places: npt.NDArray[np.int64], noise: float) -> Float32Array:
    """Unit vectors of common centres plus noise of this length."""
    centres = unit(np.random.default_rng(0).standard_normal((CENTRES, DIM)))
    random = np.random.default_rng(len(places))
    moved: Float32Array = unit(
        centres[places] + noise * unit(random.standard_normal((len(places), DIM)))
    )
    return moved


def unit(rows: npt.NDArray[np.float64]) -> Any:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


# Groups of four that are near each other, and questions that are far from all: the hard case.
VECTORS = around(np.arange(COUNT) // (COUNT // CENTRES), 0.5)
ASKED = around(np.arange(QUESTIONS), 2.0)
GROUP = np.random.default_rng(3).integers(0, GROUPS, COUNT)
WORDS = make_points([make_chunk("word")])[0].sparse


def points(first: int, last: int) -> list[Point]:
    return [
        Point(
            chunk=make_chunk("word", position=place, meta={"group": f"g{GROUP[place]}"}),
            dense=VECTORS[place],
            sparse=WORDS,
            acl=frozenset({f"g{GROUP[place]}"}),
        )
        for place in range(first, last)
    ]


@pytest.fixture
def in_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rebuilds in this process, and makes every search one of the graph."""

    async def rebuilt_here(source: Path, target: Path, mean_length: float, **_: bool) -> None:
        rebuild(source, target, mean_length, graph=True)

    monkeypatch.setattr(edge_upkeep, "run_child", rebuilt_here)
    monkeypatch.setattr(edge_points, "INDEXING_KB", 1)
    monkeypatch.setattr(edge_points, "FULL_SCAN_KB", 1)


async def recall(
    index: EdgeIndex, scope: Scope, kept: int | None = None, *, as_readers: bool = False
) -> float:
    """Mean recall@10 where a filter keeps so many groups; None: without a filter.

    It is a condition of the question, or that of readers.
    """
    found = 0
    for number, question in enumerate(ASKED):
        scores = VECTORS @ question
        where: tuple[Condition, ...] = ()
        if kept is not None:
            groups = [(number + n) % GROUPS for n in range(kept)]
            scores = scores[np.isin(GROUP, groups)]
            words = tuple(f"g{group}" for group in groups)
            if as_readers:
                scope = replace(scope, readers=frozenset(words))
            else:
                where = (Condition(field="group", op="in", value=words),)
        tenth = np.partition(scores, -K)[-K]
        [matches] = await index.search(
            scope, [Leg(name="dense", vector=question, limit=100, where=where)]
        )
        found += sum(match.score >= tenth - 1e-5 for match in matches[:K])
    return found / (K * QUESTIONS)


@pytest.mark.usefixtures("in_the_graph")
async def test_the_graph_finds_what_an_exact_search_finds(folder: Path, scope: Scope) -> None:
    index = EdgeIndex(folder, dim=DIM)
    await index.upsert(scope, points(0, COUNT))
    await index.maintain(scope)
    assert await recall(index, scope) >= 0.98
    for kept in KEPT:
        assert await recall(index, scope, kept) >= 0.97, kept
    await index.close()


@pytest.mark.usefixtures("in_the_graph")
async def test_readers_of_much_find_in_the_graph_what_an_exact_search_finds(
    folder: Path, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_post_filter, "READABLE_FROM", 1)
    index = EdgeIndex(folder, dim=DIM)
    await index.upsert(scope, points(0, COUNT))
    await index.maintain(scope)
    for kept in (30, 50, 90):
        assert await recall(index, scope, kept, as_readers=True) >= 0.98, kept
    await index.close()


def layout_before(*, dim: int | None) -> qe.EdgeConfig:
    """The layout before: full vectors alone, and half the candidates for links."""
    hnsw = qe.HnswIndexConfig(m=16, payload_m=0, ef_construct=100, full_scan_threshold=10_000)
    dense = qe.EdgeVectorParams(size=dim or 1, distance=qe.Distance.Dot, hnsw_config=hnsw)
    sparse = qe.EdgeSparseVectorParams(modifier=qe.Modifier.Idf)
    return qe.EdgeConfig(
        vectors={edge_points.DENSE: dense} if dim else None,
        sparse_vectors={edge_points.SPARSE: sparse},
        optimizers=qe.EdgeOptimizersConfig(indexing_threshold=1, default_segment_number=1),
        max_search_threads=1,
    )


@pytest.mark.usefixtures("in_the_graph")
async def test_a_shard_of_the_layout_before_is_searched_and_gets_the_new_one_when_it_is_rebuilt(
    folder: Path, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_upkeep, "INDEX_FROM", 100)
    with monkeypatch.context() as before:
        for module in ("edge_shard", "edge_reads"):
            before.setattr(f"retrieval.indexes.{module}.layout", layout_before)
        index = EdgeIndex(folder, dim=DIM)
        await index.upsert(scope, points(0, 1_000))
        await index.maintain(scope)
        await index.close()
    assert quantized(generation(folder, scope)) is None

    index = EdgeIndex(folder, dim=DIM)
    leg = Leg(name="dense", vector=ASKED[0], limit=K)
    [exact] = await index.search(scope, [replace(leg, exact=True)])
    assert (await index.search(scope, [leg])) == [exact]
    assert quantized(generation(folder, scope)) is None
    await index.upsert(scope, points(1_000, 2_000))
    await index.maintain(scope)
    assert quantized(generation(folder, scope)) is not None
    assert shard_of(index, scope).stats.indexed == 2_000
    [exact] = await index.search(scope, [replace(leg, exact=True)])
    assert (await index.search(scope, [leg])) == [exact]
    await index.close()


def quantized(generation: Path) -> object:
    """The quantization of a shard's dense vectors, from its own file."""
    config = json.loads((generation / "edge_config.json").read_text())
    return config["vectors"][edge_points.DENSE].get("quantization_config")
