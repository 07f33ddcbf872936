"""Rebuilds of the embedded index, and its versions."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rag.errors import StorageError
from rag.types import Leg, Point, Scope
from retrieval.bm25 import Bm25Encoder
from retrieval.indexes import edge_upkeep
from retrieval.indexes.edge_generations import CURRENT
from retrieval.indexes.edge_rebuild import run_child
from retrieval.indexes.edge_shard import Shard
from retrieval.indexes.rank_bm25 import RankBm25Index
from tests.edge_folder import (
    DIM,
    Gate,
    at_least,
    by_token,
    everything,
    found,
    generation,
    generations,
    home,
    open_index,
    random_points,
    shard_of,
    written,
)
from tests.fakes import dense_leg, make_chunk, make_points, sparse_leg

pytestmark = pytest.mark.anyio


@pytest.fixture
def small_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes rebuilds due from 100 points."""
    monkeypatch.setattr(edge_upkeep, "INDEX_FROM", 100)


@pytest.mark.usefixtures("small_graphs")
async def test_maintaining_builds_a_graph_that_finds_what_a_full_scan_finds(
    folder: Path, scope: Scope
) -> None:
    index = open_index(folder)
    points = random_points(2000)
    await index.upsert(scope, points)
    old = generation(folder, scope)
    await index.maintain(scope)
    info = shard_of(index, scope)._edge.info()
    assert info.indexed_vectors_count > 0
    assert info.points_count == 2000
    assert generations(folder, scope) == [generation(folder, scope)] != [old]

    matrix = np.array([p.dense for p in points])
    queries = np.random.default_rng(1).standard_normal((40, DIM)).astype(np.float32)
    recalled = 0
    for query in queries:
        best = {points[i].chunk.id for i in np.argsort(-(matrix @ query))[:10]}
        recalled += len(
            best & set(await found(index, scope, Leg(name="dense", vector=query, limit=10)))
        )
    assert recalled / 400 >= 0.95
    await index.close()


async def test_a_small_collection_is_not_rebuilt(folder: Path, scope: Scope) -> None:
    index = open_index(folder)
    await index.upsert(scope, random_points(50))
    old = generation(folder, scope)
    await index.maintain(scope)
    assert generations(folder, scope) == [old]
    await index.close()


async def test_maintaining_an_unknown_scope_does_nothing(folder: Path, scope: Scope) -> None:
    index = open_index(folder)
    await index.maintain(scope)
    assert not home(folder, scope).exists()
    await index.close()


@pytest.mark.usefixtures("small_graphs")
async def test_what_is_written_during_a_rebuild_is_in_the_new_generation(
    folder: Path, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    index = open_index(folder)
    points = random_points(150)
    await index.upsert(scope, points)
    old = generation(folder, scope)
    maintained = asyncio.create_task(index.maintain(scope))
    await gate.reached.wait()

    added = make_points([make_chunk("brand new", position=999, meta={"fresh": 7})])
    replaced = make_points([replace(points[0].chunk, text="replaced text")])
    moved = replace(points[1].chunk, start=500, end=512, meta={"fresh": 8, "word": "x"})
    await index.upsert(scope, added)
    await index.upsert(scope, replaced)
    await index.upsert(scope, [Point(chunk=moved)])
    await index.delete(scope, [points[2].chunk.id, points[3].chunk.id])
    assert await found(index, scope, sparse_leg("brand")) == [added[0].chunk.id]
    assert generation(folder, scope) == old
    before = await everything(index, scope)

    gate.opened.set()
    await maintained
    assert generation(folder, scope) != old
    for _ in range(2):  # as it is, and reopened
        assert await everything(index, scope) == before
        assert len(before) == 149
        assert await found(index, scope, sparse_leg("brand")) == [added[0].chunk.id]
        assert await found(index, scope, sparse_leg("replaced")) == [points[0].chunk.id]
        assert await found(index, scope, sparse_leg("word0")) == []
        assert await found(index, scope, sparse_leg("word2")) == []
        assert set(await found(index, scope, dense_leg("x", at_least("fresh", 8)))) == {moved.id}
        assert await found(index, scope, sparse_leg("word1")) == [moved.id]
        stats = shard_of(index, scope).stats
        assert (stats.points, stats.terms) == (149, 298)
        await index.close()
        index = open_index(folder)
    await index.close()


@pytest.mark.usefixtures("small_graphs")
@pytest.mark.parametrize("with_tokens", [0, 60])
async def test_token_vectors_outlast_a_rebuild_and_may_first_come_during_one(
    folder: Path, scope: Scope, monkeypatch: pytest.MonkeyPatch, with_tokens: int
) -> None:
    gate = Gate(monkeypatch)
    index = open_index(folder)
    first = make_points([p.chunk for p in random_points(with_tokens)], by_token=True)
    await index.upsert(scope, [*first, *random_points(150 - with_tokens, first=with_tokens)])
    old = generation(folder, scope)
    maintained = asyncio.create_task(index.maintain(scope))
    await gate.reached.wait()
    late = make_points([make_chunk("brand new", position=999)], by_token=True)
    await index.upsert(scope, late)
    gate.opened.set()
    await maintained
    assert generation(folder, scope) != old
    expected = {point.chunk.id for point in [*first, *late]}
    for _ in range(2):  # as it is, and reopened
        assert await by_token(index, scope) == expected
        await index.close()
        index = open_index(folder)
    await index.maintain(scope)
    assert len(await found(index, scope, dense_leg("x", limit=200))) == 151
    await index.close()


@pytest.mark.usefixtures("small_graphs")
async def test_searches_go_on_during_a_rebuild(folder: Path, scope: Scope) -> None:
    index = open_index(folder)
    points = random_points(1500)
    await index.upsert(scope, points)
    maintained = asyncio.create_task(index.maintain(scope))
    searched = 0
    while not maintained.done():
        ids = await found(index, scope, sparse_leg(f"word{searched % 1500}"))
        assert ids == [points[searched % 1500].chunk.id]
        searched += 1
        await asyncio.sleep(0.005)
    await maintained
    assert searched > 10
    await index.close()


@pytest.mark.usefixtures("small_graphs")
async def test_two_that_maintain_at_once_share_one_rebuild(
    folder: Path, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    index = open_index(folder)
    await index.upsert(scope, random_points(150))
    both = [asyncio.create_task(index.maintain(scope)) for _ in range(2)]
    await gate.reached.wait()
    await asyncio.sleep(0.05)
    assert len(generations(folder, scope)) == 3  # what is searched, its copy, the fresh one
    gate.opened.set()
    await asyncio.gather(*both)
    assert len(generations(folder, scope)) == 1
    await index.close()


async def test_weights_are_made_anew_when_the_mean_length_has_drifted(
    folder: Path, scope: Scope
) -> None:
    index = open_index(folder)
    oracle = RankBm25Index(index, encoder=Bm25Encoder())
    short = [make_chunk("cat dog", position=i) for i in range(20)]
    long = [make_chunk("cat mouse " * 20 + "bird", position=100 + i) for i in range(20)]
    leg = sparse_leg("cat dog mouse")
    await index.upsert(scope, make_points(short))
    await index.upsert(scope, make_points(long))
    [exact] = await oracle.search(scope, [leg])
    [stale] = await index.search(scope, [leg])
    assert scores(stale) != pytest.approx(scores(exact), rel=1e-2)
    await index.maintain(scope)
    [fresh] = await index.search(scope, [leg])
    assert scores(fresh) == pytest.approx(scores(exact), rel=1e-4)
    await index.close()


def scores(matches: Sequence[object]) -> dict[str, float]:
    return {m.chunk_id: m.score for m in matches}  # type: ignore[attr-defined]


@pytest.mark.usefixtures("small_graphs")
async def test_idf_is_exact_again_after_deletes_once_the_graph_is_rebuilt(
    folder: Path, scope: Scope
) -> None:
    index = open_index(folder)
    oracle = RankBm25Index(index, encoder=Bm25Encoder())
    points = random_points(300)
    await index.upsert(scope, points)
    await index.maintain(scope)
    await index.delete(scope, [p.chunk.id for p in points[:150]])
    await index.upsert(scope, random_points(100, first=300))
    await index.maintain(scope)
    terms = Bm25Encoder().encode(["shared word200 word350"])[0].indices.tolist()
    assert await index.idf(scope, terms) == pytest.approx(await oracle.idf(scope, terms), rel=1e-4)
    await index.close()


# Rebuilds that do not end well


@pytest.mark.usefixtures("small_graphs")
async def test_an_old_generation_that_cannot_be_closed_does_not_cost_the_new_one(
    folder: Path, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_shard: Shard) -> None:
        raise StorageError("The disk is full.")

    index = open_index(folder)
    await index.upsert(scope, random_points(150))
    with monkeypatch.context() as patch:
        patch.setattr(Shard, "close", full)
        with pytest.raises(StorageError, match="disk is full"):
            await index.maintain(scope)
    assert len(await index.chunk_ids(scope, None)) == 150
    await index.close()
    index = open_index(folder)
    assert len(await index.chunk_ids(scope, None)) == 150
    assert generations(folder, scope) == [generation(folder, scope)]
    await index.close()


@pytest.mark.usefixtures("small_graphs", "new_interpreters")
async def test_a_rebuild_whose_child_fails_raises_and_the_old_index_still_answers(
    folder: Path, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = open_index(folder)
    points = random_points(150)
    await index.upsert(scope, points)
    old = generation(folder, scope)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/bin/false")
        with pytest.raises(StorageError, match="Rebuilding the index failed; the old one"):
            await index.maintain(scope)
    assert generations(folder, scope) == [old]
    assert await found(index, scope, sparse_leg("word5")) == [points[5].chunk.id]
    await index.upsert(scope, random_points(1, first=500))
    await index.maintain(scope)
    assert generations(folder, scope) != [old]
    assert len(await index.chunk_ids(scope, None)) == 151
    await index.close()


@pytest.mark.usefixtures("small_graphs")
async def test_the_cause_of_a_failed_rebuild_is_told(
    folder: Path, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(source: Path, folder: Path, mean_length: float, *, graph: bool) -> None:
        (source / "edge_config.json").unlink()
        await run_child(source, folder, mean_length, graph=graph)

    monkeypatch.setattr(edge_upkeep, "run_child", broken)
    index = open_index(folder)
    await index.upsert(scope, random_points(150))
    with pytest.raises(StorageError, match="failed; the old one stays in use") as caught:
        await index.maintain(scope)
    assert re.search(r"No such file or directory: .*edge_config\.json", caught.value.detail)
    await index.close()


@pytest.mark.usefixtures("small_graphs")
async def test_one_who_stops_waiting_for_a_rebuild_does_not_stop_it(
    folder: Path, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    index = open_index(folder)
    await index.upsert(scope, random_points(150))
    old = generation(folder, scope)
    maintained = asyncio.create_task(index.maintain(scope))
    await gate.reached.wait()
    maintained.cancel()
    with pytest.raises(asyncio.CancelledError):
        await maintained
    gate.opened.set()
    await index.maintain(scope)
    assert generations(folder, scope) == [generation(folder, scope)] != [old]
    await index.close()


@pytest.mark.usefixtures("small_graphs", "new_interpreters")
async def test_closing_during_a_rebuild_ends_its_child_and_leaves_no_trace(
    folder: Path, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    children: list[asyncio.subprocess.Process] = []
    started = asyncio.Event()
    create = asyncio.create_subprocess_exec

    async def sleeper(*_command: str, **options: object) -> asyncio.subprocess.Process:
        children.append(await create("sleep", "60", **options))  # type: ignore[arg-type]
        started.set()
        return children[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", sleeper)
    index = open_index(folder)
    await index.upsert(scope, random_points(150))
    old = generation(folder, scope)
    maintained = asyncio.create_task(index.maintain(scope))
    await started.wait()
    await index.close()
    await maintained
    assert children[0].returncode == -signal.SIGKILL
    assert generations(folder, scope) == [old]


async def test_leftovers_of_a_killed_rebuild_are_removed_at_the_next_open(
    folder: Path, scope: Scope
) -> None:
    await written(folder, scope)
    current = generation(folder, scope)
    shutil.copytree(current, current.with_name("0" * 32))
    index = open_index(folder)
    assert len(await index.chunk_ids(scope, None)) == 20
    assert {p.name for p in home(folder, scope).iterdir()} == {CURRENT, current.name}
    await index.close()


def test_the_mean_length_and_what_is_due_follow_from_the_counts() -> None:
    from retrieval.indexes.edge_stats import Stats

    def due(**counts: float) -> bool:
        stats = Stats(**({"lowest_mean": 10.0, "highest_mean": 10.0} | counts))  # type: ignore[arg-type]
        return stats.rebuild_due(index_from=100, stale_share=0.25)

    assert Stats().mean_length == 1.0
    assert not due(points=0)
    assert not due(points=99, terms=990)
    assert due(points=100, terms=1000)
    assert not due(points=100, terms=1000, indexed=75)
    assert due(points=100, terms=1000, indexed=74)
    assert not due(points=10, terms=102)
    assert due(points=10, terms=103)  # it is rounded to 10.5
    assert due(points=10, terms=100, lowest_mean=9.0)
    assert due(points=10, terms=100, highest_mean=11.0)


# Versions


async def test_what_a_killed_version_left_is_removed_and_the_previous_one_kept(
    folder: Path, scope: Scope
) -> None:
    index = open_index(folder)
    await index.upsert(scope, random_points(3))
    version = await index.begin_version(scope)
    await index.upsert(version, random_points(4))
    await index.switch_version(scope, version)
    left = await index.begin_version(scope)
    await index.upsert(left, random_points(5))
    await index.close()  # on disk this looks like a kill
    assert len(generations(folder, scope)) == 3
    index = open_index(folder)
    assert len(await index.chunk_ids(scope, None)) == 4
    assert len(generations(folder, scope)) == 2
    previous = await index.previous_version(scope)
    assert previous is not None
    assert len(await index.chunk_ids(previous, None)) == 3
    with pytest.raises(StorageError, match=r"has no version .* to switch to"):
        await index.switch_version(scope, left)
    await index.close()


@pytest.mark.usefixtures("small_graphs")
async def test_a_graph_that_is_built_as_another_version_takes_over_is_dropped(
    folder: Path, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, gate = open_index(folder), Gate(monkeypatch)
    await index.upsert(scope, random_points(200))
    tidying = asyncio.create_task(index.maintain(scope))
    await gate.reached.wait()
    version = await index.begin_version(scope)
    await index.upsert(version, random_points(150))
    await index.switch_version(scope, version)
    gate.opened.set()
    await tidying
    assert len(await index.chunk_ids(scope, None)) == 150
    assert len(generations(folder, scope)) == 2
    previous = await index.previous_version(scope)
    assert previous is not None
    assert len(await index.chunk_ids(previous, None)) == 200
    await index.close()


@pytest.mark.usefixtures("small_graphs")
async def test_versions_get_graphs_of_their_own(folder: Path, scope: Scope) -> None:
    index = open_index(folder)
    await index.upsert(scope, random_points(150))
    version = await index.begin_version(scope)
    await index.upsert(version, random_points(200))
    await index.maintain(version)
    assert shard_of(index, version).stats.indexed == 200
    await index.switch_version(scope, version)
    previous = await index.previous_version(scope)
    assert previous is not None
    await index.maintain(previous)
    assert shard_of(index, previous).stats.indexed == 150
    await index.close()
    index = open_index(folder)
    assert len(await index.chunk_ids(previous, None)) == 150
    assert len(await index.chunk_ids(scope, None)) == 200
    assert len(generations(folder, scope)) == 2
    await index.close()


@pytest.mark.usefixtures("small_graphs", "new_interpreters")
async def test_a_rebuild_imports_nothing_from_the_current_folder(
    folder: Path, scope: Scope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = open_index(folder)
    await index.upsert(scope, random_points(200))
    old = generation(folder, scope)
    (tmp_path / "dataclasses.py").write_text("raise RuntimeError('imported')")
    monkeypatch.chdir(tmp_path)
    await index.maintain(scope)
    assert generations(folder, scope) == [generation(folder, scope)] != [old]
    await index.close()
