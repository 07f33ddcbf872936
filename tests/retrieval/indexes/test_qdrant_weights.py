"""BM25 weights on a Qdrant server: the mean length used for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rag.types import Point, Scope
from retrieval.bm25 import rounded_mean
from retrieval.indexes.edge import EdgeIndex
from retrieval.indexes.qdrant import QdrantIndex
from retrieval.indexes.qdrant_server import Server
from tests.fakes import make_chunk, make_points, sparse_leg
from tests.qdrant_corpus import (
    DIM,
    assert_equal_rankings,
    assert_same_ranking,
    ids,
    random_chunks,
    skewed_chunks,
    stored,
)
from tests.qdrant_grpc import grpc_qdrant
from tests.qdrant_servers import NO_INDEXES, local_qdrant

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop"), NO_INDEXES]


@pytest.fixture(params=[local_qdrant, grpc_qdrant], ids=["local", "grpc"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    async with request.param() as made:
        yield made


@pytest.fixture
def index(server: Server) -> QdrantIndex:
    return QdrantIndex(server, dim=DIM)


async def test_maintaining_makes_weights_of_a_drifted_mean_anew(
    server: Server, index: QdrantIndex, scope: Scope
) -> None:
    short = [make_chunk("cat dog", position=i) for i in range(30)]
    long = [make_chunk("cat " + "dog mouse " * 20, position=100 + i) for i in range(30)]
    await index.upsert(scope, make_points(short))
    await index.upsert(scope, make_points(long))
    assert len(set(await stored(server, "handbook", "mean"))) == 2
    rival = replace(scope, tenant="rival")
    await index.upsert(rival, make_points(short))
    await index.maintain(scope)
    # 21.5 terms is the mean: 41 in the long ones, 2 in the short ones.
    assert set(await stored(server, "handbook", "mean")) == {rounded_mean(21.5, 1), 2.0}

    afresh = QdrantIndex(server, dim=DIM)
    await afresh.upsert(replace(scope, collection="again"), make_points([*short, *long]))
    leg = sparse_leg("cat mouse", limit=60)
    [ours] = await index.search(scope, [leg])
    [exact] = await afresh.search(replace(scope, collection="again"), [leg])
    assert_same_ranking(ours, exact)


async def test_a_mean_that_hardly_moved_is_left_alone(
    server: Server, index: QdrantIndex, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = make_points(random_chunks(200))
    await index.upsert(scope, points[:195])
    await index.upsert(scope, points[195:])
    await index.maintain(scope)
    written: list[Any] = []
    monkeypatch.setattr(server.client, "batch_update_points", lambda *told: written.append(told))
    await index.delete(scope, [points[0].chunk.id])
    await index.maintain(scope)
    assert written == []
    assert len(set(await stored(server, "handbook", "mean"))) == 1


async def test_a_process_that_joins_measures_what_is_there(server: Server, scope: Scope) -> None:
    await QdrantIndex(server, dim=DIM).upsert(scope, make_points(random_chunks(200)))
    [late] = make_points([make_chunk("cat", position=999)])
    await QdrantIndex(server, dim=DIM).upsert(scope, [late])
    lengths = await stored(server, "handbook", "length")
    means = set(await stored(server, "handbook", "mean"))
    assert rounded_mean(sum(lengths), len(lengths)) in means
    assert 1.0 not in means  # its own chunk's length


async def test_what_several_workers_ingested_ranks_as_in_the_embedded_index(
    server: Server, scope: Scope, folder: Path
) -> None:
    points = make_points(random_chunks(160))
    edge = EdgeIndex(folder, dim=DIM)
    workers = [QdrantIndex(server, dim=DIM) for _ in range(2)]
    for i in range(0, len(points), 8):  # each knows the lengths of what it wrote itself
        await edge.upsert(scope, points[i : i + 8])
        await workers[i // 8 % 2].upsert(scope, points[i : i + 8])
    await edge.maintain(scope)
    for worker in workers:
        await worker.maintain(scope)
    await assert_equal_rankings(workers[0], edge, scope)
    await edge.close()


async def test_two_who_maintain_while_the_mean_moves_end_with_one_mean(
    server: Server, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[Point] = []
    index, other = QdrantIndex(server, dim=DIM), QdrantIndex(server, dim=DIM)
    reweigh = index._weights._reweigh

    async def slow(scope: Scope, records: Any, mean: float) -> bool:
        if not late:
            late.extend(make_points(skewed_chunks(80, seed=8)[8:16]))
            await other.upsert(scope, late)
            await other.maintain(scope)
        return await reweigh(scope, records, mean)

    monkeypatch.setattr(index._weights, "_reweigh", slow)
    await index.upsert(scope, make_points([make_chunk("cat dog", position=i) for i in range(4)]))
    await index.upsert(scope, make_points([make_chunk("mouse " * 30, position=9)]))
    await index.maintain(scope)
    assert len(late) == 8
    lengths = await stored(server, "handbook", "length")
    mean = rounded_mean(sum(lengths), len(lengths))
    assert set(await stored(server, "handbook", "mean")) == {mean}


async def test_what_is_written_while_weights_are_made_anew_stays(
    server: Server, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks = [make_chunk("cat dog", position=i) for i in range(4)]
    index, other = QdrantIndex(server, dim=DIM), QdrantIndex(server, dim=DIM)
    reweigh = index._weights._reweigh

    async def interrupted(scope: Scope, records: Any, mean: float) -> bool:
        await other.upsert(scope, make_points([replace(chunks[0], text="fish")]))
        await other.upsert(scope, [Point(chunk=replace(chunks[1], start=7))])
        await other.delete(scope, [chunks[2].id])
        return await reweigh(scope, records, mean)

    monkeypatch.setattr(index._weights, "_reweigh", interrupted)
    await index.upsert(scope, make_points(chunks))
    await index.upsert(scope, make_points([make_chunk("mouse " * 30, position=9)]))
    await index.maintain(scope)
    assert await ids(index, scope, sparse_leg("fish")) == [chunks[0].id]
    assert set(await ids(index, scope, sparse_leg("cat"))) == {chunks[1].id, chunks[3].id}
    assert (await index.fetch(scope, [chunks[1].id]))[0].start == 7
    assert chunks[2].id not in await index.chunk_ids(scope, None)
