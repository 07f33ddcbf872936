"""Collections and their versions on a Qdrant server."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from qdrant_client import models

from rag.errors import (
    ConfigError,
    InputError,
    NotFoundError,
)
from rag.types import Scope
from retrieval.indexes.qdrant import QdrantIndex
from retrieval.indexes.qdrant_server import Server
from tests.fakes import dense_leg, make_chunk, make_points, sparse_leg
from tests.qdrant_corpus import (
    DIM,
    ids,
    random_chunks,
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


async def test_graphs_wait_while_much_is_loaded(
    server: Server, index: QdrantIndex, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_: list[int | None] = []
    update = server.client.update_collection

    async def noted(name: str, *, optimizers_config: Any) -> bool:
        set_.append(optimizers_config.indexing_threshold)
        return await update(name, optimizers_config=optimizers_config)

    monkeypatch.setattr(server.client, "update_collection", noted)
    version = await index.begin_version(scope)
    await index.upsert(version, make_points(random_chunks(3)))
    assert set_ == [0]
    await index.maintain(version)
    assert set_ == [0, 10_000]
    assert len(await index.chunk_ids(version, None)) == 3


async def test_a_new_version_is_filled_beside_and_switched_to_without_a_gap(
    index: QdrantIndex, server: Server, scope: Scope
) -> None:
    old, new = make_chunk("cat one"), make_chunk("cat two", position=1)
    await index.upsert(scope, make_points([old]))
    name = scope.collection
    first = f"{name}.v1"
    assert (await index.versions.stored(name), await index.versions.current(name)) == ([1], first)
    version = await index.collections.create_version(name)
    beside = replace(scope, collection=version)
    await index.upsert(beside, make_points([new]))
    assert await ids(index, scope, dense_leg("cat")) == [old.id]
    assert await ids(index, beside, dense_leg("cat")) == [new.id]

    seen: list[list[str]] = []

    async def look() -> None:
        while True:
            seen.append(await ids(index, scope, sparse_leg("cat")))
            await asyncio.sleep(0)

    looking = asyncio.create_task(look())
    for target in itertools.islice(itertools.cycle([version, first]), 20):
        await index.versions.switch(name, target)
        await asyncio.sleep(0)
    looking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await looking
    assert {tuple(found) for found in seen} == {(old.id,), (new.id,)}

    await index.versions.switch(name, version)
    assert await index.versions.aliased(name) == (version, first)
    assert await index.versions.stored(name) == [1, 2]
    with pytest.raises(InputError, match=r"Version 'handbook\.v2' is in use"):
        await index.versions.drop(version)
    await index.versions.drop(first)
    assert await ids(index, scope, dense_leg("cat")) == [new.id]
    assert await index.collections.create_version(name) == f"{name}.v3"
    with pytest.raises(NotFoundError):
        await index.versions.switch(name, f"{name}.v9")


async def test_which_version_is_searched_costs_no_question_a_round_trip(
    server: Server, index: QdrantIndex, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    await index.upsert(scope, make_points(random_chunks(1)))
    elsewhere, later = QdrantIndex(server, dim=DIM), QdrantIndex(server, dim=DIM)
    assert await elsewhere.version(scope) == "v1"
    monkeypatch.setattr("retrieval.indexes.qdrant.VERSION_SECONDS", 0)
    assert await later.version(scope) == "v1"
    await index.switch_version(scope, await index.begin_version(scope))
    assert await index.version(scope) == "v2"
    assert await elsewhere.version(scope) == "v1"  # as it is remembered
    assert await later.version(scope) == "v2"


async def test_a_tenant_of_a_shared_collection_gets_versions_of_its_own(
    index: QdrantIndex, server: Server, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Scope(tenant="umbrella", collection=scope.collection)
    elsewhere = QdrantIndex(server, dim=DIM)  # another process
    chunks = [make_chunk(f"cat {word}", position=i) for i, word in enumerate(["one", "two", "six"])]
    old, new, late = make_points(chunks)
    for each in (scope, other):
        await index.upsert(each, [old])
    assert await elsewhere.chunk_ids(scope, None) == {old.chunk.id}
    version = await index.begin_version(scope)
    await index.upsert(version, [new])
    assert await ids(index, scope, dense_leg("cat")) == [old.chunk.id]
    assert (await index.name_of(scope), await index.name_of(version)) == ("v1", "own-v1")
    await index.switch_version(scope, version)
    assert await index.name_of(scope) == await index.version(scope) == "own-v1"
    assert await ids(index, scope, dense_leg("cat")) == [new.chunk.id]
    assert await ids(index, other, dense_leg("cat")) == [old.chunk.id]
    # Whoever writes learns of the switch at once, and whoever only reads within seconds.
    await elsewhere.upsert(scope, [late])
    assert await index.chunk_ids(scope, None) == {new.chunk.id, late.chunk.id}
    reader = QdrantIndex(server, dim=DIM)
    assert await reader.chunk_ids(scope, None) == {new.chunk.id, late.chunk.id}

    previous = await index.previous_version(scope)
    assert previous is not None
    assert await index.chunk_ids(previous, None) == {old.chunk.id}
    await index.switch_version(scope, previous)  # back to where the other tenant is
    assert await index.name_of(scope) == "v1"
    assert await ids(index, scope, dense_leg("cat")) == [old.chunk.id]
    await index.switch_version(scope, await index.previous_version(scope) or scope)
    assert await index.name_of(scope) == "own-v1"

    second = await index.begin_version(scope)
    await index.upsert(second, [old])
    await index.switch_version(scope, second)
    assert await index.name_of(scope) == "own-v2"
    shared = replace(scope, collection=f"{scope.collection}.v1")
    assert await index.chunk_ids(shared, None) == set()  # the version before the previous one
    assert await ids(index, other, dense_leg("cat")) == [old.chunk.id]
    await index.remove(scope)
    assert await index.chunk_ids(scope, None) == set()
    held = (await server.client.get_collections()).collections
    assert [each.name for each in held] == [f"{scope.collection}.v1"]
    assert await ids(index, other, dense_leg("cat")) == [old.chunk.id]


async def test_two_tenants_of_a_shared_collection_are_indexed_again_at_once(
    index: QdrantIndex, scope: Scope
) -> None:
    scopes = [scope, replace(scope, tenant="umbrella"), replace(scope, tenant="wonka")]
    [point, new] = make_points([make_chunk("cat one"), make_chunk("cat two", position=1)])
    for each in scopes:
        await index.upsert(each, [point])
    begun = [await index.begin_version(each) for each in scopes]
    for version in begun:
        await index.upsert(version, [new])
    for each, version in zip(scopes, begun, strict=True):
        await index.switch_version(each, version)
    for each in scopes:
        assert await ids(index, each, sparse_leg("cat")) == [new.chunk.id]


async def test_a_reader_in_another_process_sees_the_switch_within_seconds(
    index: QdrantIndex, server: Server, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    [old, new] = make_points([make_chunk("cat one"), make_chunk("cat two", position=1)])
    for each in (scope, replace(scope, tenant="umbrella")):
        await index.upsert(each, [old])
    reader = QdrantIndex(server, dim=DIM)
    assert await ids(reader, scope, dense_leg("cat")) == [old.chunk.id]
    version = await index.begin_version(scope)
    await index.upsert(version, [new])
    await index.switch_version(scope, version)
    monkeypatch.setattr("retrieval.indexes.qdrant.VERSION_SECONDS", 0)
    assert await reader.version(scope) == "own-v1"
    assert await ids(reader, scope, dense_leg("cat")) == [new.chunk.id]


async def test_a_version_that_was_not_made_is_not_made_by_writing(
    index: QdrantIndex, scope: Scope
) -> None:
    version = replace(scope, collection=f"{scope.collection}.v5")
    with pytest.raises(NotFoundError):
        await index.upsert(version, make_points([make_chunk("cat")]))
    assert await index.versions.stored(scope.collection) == []


async def test_a_collection_that_someone_removed_is_made_anew_by_the_next_but_one_write(
    index: QdrantIndex, server: Server, scope: Scope
) -> None:
    points = make_points([make_chunk("cat")])
    await index.upsert(scope, points)
    await server.client.delete_collection("handbook.v1")
    with pytest.raises(NotFoundError, match="does not hold it") as caught:
        await index.upsert(scope, points)
    assert "Collection handbook not found" in caught.value.detail
    await index.upsert(scope, points)
    assert await index.holds(scope)


async def test_workers_whose_first_writes_meet_share_one_collection(
    server: Server, scope: Scope
) -> None:
    chunks = random_chunks(4)
    workers = [QdrantIndex(server, dim=DIM) for _ in chunks]
    await asyncio.gather(
        *(w.upsert(scope, make_points([c])) for w, c in zip(workers, chunks, strict=True))
    )
    for worker in workers:
        assert await worker.chunk_ids(scope, None) == {chunk.id for chunk in chunks}
        assert await worker.versions.stored(scope.collection) == [1]


async def test_a_collection_that_is_not_plumblines_is_left_alone(
    server: Server, index: QdrantIndex, scope: Scope
) -> None:
    vectors = models.VectorParams(size=DIM, distance=models.Distance.DOT)
    await server.client.create_collection("handbook", vectors_config=vectors)
    with pytest.raises(ConfigError, match=r"none of Plumbline's: set another `index\.prefix`"):
        await index.upsert(scope, make_points([make_chunk("cat")]))


async def test_a_collection_of_another_embedder_is_refused(server: Server, scope: Scope) -> None:
    await QdrantIndex(server, dim=DIM).upsert(scope, [])
    with pytest.raises(ConfigError, match=f"vectors of {DIM} numbers, and the embedder's have 5"):
        await QdrantIndex(server, dim=5).upsert(scope, [])


async def test_names_that_look_like_a_version_do_not_collide(index: QdrantIndex) -> None:
    one, two = (Scope(tenant="t", collection=name) for name in ("docs", "docs-v1"))
    await index.upsert(one, make_points([make_chunk("cat")]))
    await index.upsert(two, [])
    assert (await index.holds(one), await index.holds(two)) == (True, False)
