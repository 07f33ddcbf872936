"""Ranks do not depend on the shards of a collection on a Qdrant server."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import models

from rag.errors import ConfigError
from rag.types import Match, Point, Scope
from retrieval.bm25 import Bm25Encoder
from retrieval.indexes import qdrant
from retrieval.indexes.edge import EdgeIndex
from retrieval.indexes.qdrant import QdrantIndex
from retrieval.indexes.qdrant_collections import Collections
from retrieval.indexes.qdrant_points import Layout
from retrieval.indexes.qdrant_server import Server
from retrieval.indexes.qdrant_shards import part_keys, placement_of, tenant_key
from retrieval.indexes.qdrant_weights import Weights
from tests.fakes import HashEmbedder, dense_leg, make_chunk, make_points, sparse_leg
from tests.qdrant_grpc import grpc_qdrant
from tests.qdrant_servers import NO_INDEXES
from tests.qdrant_shards import ShardedClient

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop"), NO_INDEXES]

DIM = HashEmbedder().dim
WORDS = [f"word{i}" for i in range(60)]
THREE = Layout(shards=3)
TENANTS = [f"tenant {i}" for i in range(7)]


@pytest.fixture
def behind() -> ShardedClient:
    return ShardedClient()


@pytest.fixture
async def server(behind: ShardedClient) -> AsyncIterator[Server]:
    async with grpc_qdrant(stored=behind) as made:
        yield made


def points_of(tenant: str, n: int = 60) -> list[Point]:
    """Returns a tenant's own texts of 5 to 40 words; a few words are in most of them."""
    rng = random.Random(tenant)
    weights = [1 / (1 + i) for i in range(len(WORDS))]
    texts = [" ".join(rng.choices(WORDS, weights, k=rng.randint(5, 40))) for _ in range(n)]
    return make_points([make_chunk(text, position=i) for i, text in enumerate(texts)])


async def ranked(index: Any, scope: Scope) -> list[list[Match]]:
    """Returns each word's IDF, then all matches of both legs of some questions."""
    rng = random.Random(scope.tenant)
    texts = [" ".join(rng.choices(WORDS, k=4)) for _ in range(12)]
    legs = [leg(text, limit=100) for text in texts for leg in (dense_leg, sparse_leg)]
    terms = [int(v.indices[0]) for v in Bm25Encoder().encode(WORDS)]
    weights = await index.idf(scope, terms)
    words = [Match(chunk_id=w, score=v) for w, v in zip(WORDS, weights, strict=True)]
    return [words, *await index.search(scope, legs)]


def assert_equal(ours: Sequence[Sequence[Match]], theirs: Sequence[Sequence[Match]]) -> None:
    """Checks equality up to float rounding; matches that differ only by it may swap."""
    for a, b in zip(ours, theirs, strict=True):
        scores = {match.chunk_id: match.score for match in b}
        assert [m.score for m in a] == pytest.approx([m.score for m in b], rel=1e-6, abs=1e-7)
        assert {m.chunk_id: m.score for m in a} == pytest.approx(scores, rel=1e-6, abs=1e-7)


async def embedded(folder: Path, scope: Scope) -> list[list[Match]]:
    """Returns the matches of the embedded index over the scope's points."""
    edge = EdgeIndex(folder, dim=DIM)
    await edge.upsert(scope, points_of(scope.tenant))
    await edge.maintain(scope)
    found = await ranked(edge, scope)
    await edge.close()
    return found


# Ranks


@pytest.mark.parametrize("layout", [Layout(), THREE], ids=["one", "three"])
async def test_each_tenant_s_ranks_are_those_of_the_embedded_index(
    server: Server, folder: Path, layout: Layout
) -> None:
    index = QdrantIndex(server, dim=DIM, layout=layout)
    scopes = [Scope(tenant=tenant, collection="docs") for tenant in TENANTS]
    for scope in scopes:
        await index.upsert(scope, points_of(scope.tenant))
    for scope in scopes:
        await index.maintain(scope)
        assert_equal(await ranked(index, scope), await embedded(folder, scope))


async def test_all_that_a_tenant_has_lies_in_one_shard(
    server: Server, behind: ShardedClient
) -> None:
    index = QdrantIndex(server, dim=DIM, layout=THREE)
    tenants = sorted(f"tenant {i}" for i in range(20))
    for tenant in tenants:
        await index.upsert(Scope(tenant=tenant, collection="docs"), points_of(tenant, 3))
    shards = [f"docs.v1#{key}" for key in part_keys(3)]
    held = []
    for shard in shards:
        records, _ = await behind.local.scroll(shard, limit=1000)
        held.append({(record.payload or {})["tenant"] for record in records})
    assert sorted(tenant for each in held for tenant in each) == tenants
    assert all(held)


async def test_where_a_tenant_lies_follows_from_its_name_alone() -> None:
    keys = {*part_keys(3), tenant_key("big")}
    places = {tenant: placement_of(tenant, keys).key for tenant in TENANTS}
    assert {tenant: placement_of(tenant, set(part_keys(3))).key for tenant in TENANTS} == places
    assert placement_of("big", keys).key == "tenant-big"
    assert placement_of("big", set()).key is None


# A tenant's own shard


async def test_indexed_again_a_tenant_has_a_shard_of_its_own_where_idf_has_no_filter(
    server: Server, behind: ShardedClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = Scope(tenant=TENANTS[0], collection="docs")
    index = QdrantIndex(server, dim=DIM, layout=THREE)
    await index.upsert(scope, points_of(scope.tenant))
    version = await index.begin_version(scope)
    await index.upsert(version, points_of(scope.tenant))
    await index.maintain(version)
    await index.switch_version(scope, version)
    asked: list[models.QueryRequest] = []
    query = behind.query_batch_points

    async def noted(name: str, requests: Sequence[models.QueryRequest]) -> Any:
        asked.extend(requests)
        return await query(name, requests)

    monkeypatch.setattr(behind, "query_batch_points", noted)
    assert_equal(await ranked(index, scope), await embedded(folder, scope))
    assert {request.shard_key for request in asked} == {tenant_key(scope.tenant)}
    assert all(request.params is None or request.params.idf is None for request in asked)


async def test_that_a_shard_of_its_own_is_worth_it_is_logged_once_until_the_tenant_has_one(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(qdrant, "LARGE_TENANT", 6)
    small, large = (Scope(tenant=tenant, collection="docs") for tenant in TENANTS[:2])
    index = QdrantIndex(server, dim=DIM, layout=THREE)
    for scope, amount in ((small, 5), (large, 6)):
        await index.upsert(scope, points_of(scope.tenant, amount))
        await index.maintain(scope)
        await index.maintain(scope)
    [record] = caplog.records
    assert "tenant 1 in docs counts its 6 chunks" in record.getMessage()
    assert "`rag reindex --tenant tenant 1 --collection docs`" in record.getMessage()
    caplog.clear()
    version = await index.begin_version(large)
    await index.upsert(version, points_of(large.tenant, 6))
    await index.maintain(version)
    await index.switch_version(large, version)
    await QdrantIndex(server, dim=DIM, layout=THREE).maintain(large)
    assert caplog.records == []


async def test_upkeep_whose_last_call_fails_has_recomputed_the_weights(
    server: Server, behind: ShardedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qdrant, "LARGE_TENANT", 6)
    scope = Scope(tenant=TENANTS[0], collection="docs")
    index = QdrantIndex(server, dim=DIM, layout=THREE)
    await index.upsert(scope, points_of(scope.tenant, 6))
    recompute, failed = Weights.recompute, []

    async def fails(name: str) -> None:
        failed.append(name)
        raise ValueError("no shards now")

    async def then_away(weights: Weights, scope: Scope) -> None:
        await recompute(weights, scope)
        index._known.placements.clear()
        monkeypatch.setattr(behind, "list_shard_keys", fails)

    monkeypatch.setattr(Weights, "recompute", then_away)
    await index.maintain(scope)
    assert failed


async def test_a_tenant_is_moved_to_a_shard_of_its_own_while_others_search_and_write(
    server: Server, behind: ShardedClient
) -> None:
    scope = Scope(tenant=TENANTS[0], collection="docs")
    index = QdrantIndex(server, dim=DIM, layout=THREE)
    points = points_of(scope.tenant)
    await index.upsert(scope, points[:50])
    before = await index.chunk_ids(scope, None)
    [part] = [s for s in part_keys(3) if (await behind.local.count(f"docs.v1#{s}")).count]
    moved, _ = await behind.local.scroll(f"docs.v1#{part}", limit=100, with_vectors=True)
    behind.partial.add(tenant_key(scope.tenant))
    await behind.create_shard_key("docs.v1", tenant_key(scope.tenant))
    own = f"docs.v1#{tenant_key(scope.tenant)}"
    begun = QdrantIndex(server, dim=DIM, layout=THREE)  # a process that starts while points move
    for each in (index, begun):
        assert await each.chunk_ids(scope, None) == before
    structs: list[Any] = [
        models.PointStruct(id=r.id, vector=r.vector, payload=r.payload) for r in moved
    ]
    await behind.local.upsert(own, structs)
    behind.partial.clear()
    # Running processes do not know of it: the fallback is no longer used.
    await index.upsert(scope, points[50:])
    for each in (index, begun, QdrantIndex(server, dim=DIM)):
        assert await each.chunk_ids(scope, None) == before | {p.chunk.id for p in points[50:]}
    assert (await behind.local.count(own)).count == 60


# Collections that were made before, and others


async def test_a_collection_made_before_goes_on_and_is_moved_when_it_is_indexed_again(
    folder: Path,
) -> None:
    behind = ShardedClient(shards=3)  # as before: without shard keys
    async with grpc_qdrant(stored=behind) as server:
        scope = Scope(tenant=TENANTS[0], collection="docs")
        points = points_of(scope.tenant)
        await QdrantIndex(server, dim=DIM).upsert(scope, points[:30])
        index = QdrantIndex(server, dim=DIM, layout=THREE)
        await index.upsert(scope, points[30:])
        await index.upsert(scope, [Point(chunk=replace(points[0].chunk, start=3))])
        await index.delete(scope, [points[1].chunk.id])
        await index.maintain(scope)
        ids = {point.chunk.id for point in points} - {points[1].chunk.id}
        assert await index.chunk_ids(scope, None) == ids
        assert len((await ranked(index, scope))[1]) == 59
        version = await index.begin_version(scope)
        await index.upsert(version, points)
        await index.maintain(version)
        await index.switch_version(scope, version)
        assert_equal(await ranked(index, scope), await embedded(folder, scope))


@pytest.mark.parametrize("before", [Layout(), THREE, Layout(shards=2)])
@pytest.mark.parametrize("after", [Layout(), THREE])
async def test_who_knew_another_version_s_shards_goes_on(
    server: Server, before: Layout, after: Layout
) -> None:
    scope = Scope(tenant=TENANTS[0], collection="docs")
    points = points_of(scope.tenant, 12)
    reader, writer = (QdrantIndex(server, dim=DIM, layout=before) for _ in range(2))
    other = QdrantIndex(server, dim=DIM, layout=after)
    await writer.upsert(scope, points[:6])
    assert len((await ranked(reader, scope))[1]) == 6
    version = await other.collections.create_version(scope.collection)
    await other.upsert(replace(scope, collection=version), points[:6])
    await other.versions.switch(scope.collection, version)
    await writer.upsert(scope, points[6:])
    await writer.delete(scope, [points[0].chunk.id])
    for index in (reader, writer, other):
        assert len((await ranked(index, scope))[1]) == 11


async def test_a_collection_that_was_cut_short_as_it_was_made_gets_all_its_shards(
    server: Server, behind: ShardedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = Scope(tenant=TENANTS[0], collection="docs")
    create = behind.create_shard_key

    async def killed(name: str, key: Any) -> bool:
        if key == part_keys(3)[2]:
            raise asyncio.CancelledError
        return await create(name, key)

    with monkeypatch.context() as patch:
        patch.setattr(Collections, "_make_key", lambda _, name, key: killed(name, key))
        with pytest.raises(asyncio.CancelledError):
            await QdrantIndex(server, dim=DIM, layout=THREE).upsert(scope, [])
    index = QdrantIndex(server, dim=DIM, layout=THREE)
    assert await index.chunk_ids(scope, None) == set()
    await index.upsert(scope, points_of(scope.tenant, 6))
    assert len(await index.chunk_ids(scope, None)) == 6
    keys = (await behind.list_shard_keys("docs")).shard_keys or []
    assert {key.key for key in keys} == set(part_keys(3))


async def test_workers_whose_first_writes_meet_share_the_shards(server: Server) -> None:
    scopes = [Scope(tenant=tenant, collection="docs") for tenant in TENANTS]
    workers = [QdrantIndex(server, dim=DIM, layout=THREE) for _ in scopes]
    await asyncio.gather(
        *(w.upsert(s, points_of(s.tenant, 6)) for w, s in zip(workers, scopes, strict=True))
    )
    for scope in scopes:
        assert len(await workers[0].chunk_ids(scope, None)) == 6


async def test_a_server_that_runs_alone_says_that_it_has_one_shard() -> None:
    async with grpc_qdrant(stored=ShardedClient(standalone=True)) as server:
        scope = Scope(tenant=TENANTS[0], collection="docs")
        with pytest.raises(ConfigError, match=r"runs alone.*`index\.shards` to 1") as caught:
            await QdrantIndex(server, dim=DIM, layout=THREE).upsert(scope, [])
        assert caught.value.code == "standalone_server"
        index = QdrantIndex(server, dim=DIM)  # nothing is left that would conflict
        assert await index.versions.stored("docs") == []
        await index.upsert(scope, points_of(scope.tenant, 6))
        assert len(await index.chunk_ids(scope, None)) == 6


async def test_a_server_that_runs_alone_keeps_a_collection_that_has_no_alias() -> None:
    behind = ShardedClient(standalone=True)
    async with grpc_qdrant(stored=behind) as server:
        scope = Scope(tenant=TENANTS[0], collection="docs")
        index = QdrantIndex(server, dim=DIM)
        await index.upsert(scope, points_of(scope.tenant, 6))
        gone = models.DeleteAlias(alias_name="docs")  # a snapshot brings none back
        await behind.update_collection_aliases([models.DeleteAliasOperation(delete_alias=gone)])
        with pytest.raises(ConfigError):
            await QdrantIndex(server, dim=DIM, layout=THREE).upsert(scope, [])
        assert await index.versions.stored("docs") == [1]


async def test_a_version_s_number_that_is_used_again_is_indexed_again(
    server: Server, behind: ShardedClient
) -> None:
    scope = Scope(tenant=TENANTS[0], collection="docs")
    index = QdrantIndex(server, dim=DIM)
    await index.upsert(scope, points_of(scope.tenant, 6))
    for _ in range(2):
        behind.indexed.clear()
        version = await index.begin_version(scope)
        await index.upsert(version, points_of(scope.tenant, 6))
        assert "tenant" in behind.indexed
    assert version.collection == "docs.v2"


async def test_shard_keys_that_are_not_plumblines_are_named(
    server: Server, behind: ShardedClient
) -> None:
    await QdrantIndex(server, dim=DIM, layout=THREE).upsert(
        Scope(tenant=TENANTS[0], collection="docs"), []
    )
    behind._shards["docs.v1"] = {"europe": []}
    with pytest.raises(ConfigError, match=r"none of Plumbline's: set another `index\.prefix`"):
        await QdrantIndex(server, dim=DIM).holds(Scope(tenant=TENANTS[0], collection="docs"))
