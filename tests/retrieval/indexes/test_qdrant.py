"""The index on a Qdrant server, beyond the contract of all indexes."""

from __future__ import annotations

import random
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag.build.storage import build_index
from rag.errors import (
    ConfigError,
    InputError,
)
from rag.settings.tree import Settings
from rag.types import Condition, Point, Scope
from retrieval.bm25 import Bm25Encoder
from retrieval.indexes import qdrant
from retrieval.indexes.edge import EdgeIndex
from retrieval.indexes.qdrant import QdrantIndex
from retrieval.indexes.qdrant_points import turned
from retrieval.indexes.qdrant_server import Server
from tests.fakes import dense_leg, make_chunk, make_points, sparse_leg
from tests.qdrant_corpus import (
    DIM,
    WORDS,
    assert_same_ranking,
    ids,
    random_chunks,
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


# Beside the embedded index


async def test_the_same_corpus_ranks_the_same_as_in_the_embedded_index(
    index: QdrantIndex, scope: Scope, folder: Path
) -> None:
    points = make_points(random_chunks(200))
    edge = EdgeIndex(folder, dim=DIM)
    await edge.upsert(scope, points)
    await index.upsert(scope, points)
    # Other tenants of the collection change nothing, neither IDF nor mean length.
    await index.upsert(replace(scope, tenant="rival"), make_points(random_chunks(100, seed=8)))
    rng = random.Random(9)
    for _ in range(20):
        text = " ".join(rng.choices(WORDS, k=4))
        legs = [dense_leg(text, limit=200), sparse_leg(text, limit=200)]
        for ours, theirs in zip(
            await index.search(scope, legs), await edge.search(scope, legs), strict=True
        ):
            assert_same_ranking(ours, theirs)
    terms = [int(v.indices[0]) for v in Bm25Encoder().encode([*WORDS, "unseen"])]
    assert await index.idf(scope, terms) == pytest.approx(await edge.idf(scope, terms), rel=1e-4)
    await edge.close()


# Tenants


async def test_tenants_may_hold_the_same_chunk_ids_and_never_see_each_other(
    index: QdrantIndex, server: Server
) -> None:
    scopes = [Scope(tenant=f"tenant {i}", collection="docs") for i in range(4)]
    chunks = {
        scope: [replace(c, title=scope.tenant) for c in random_chunks(20, seed=i)]
        for i, scope in enumerate(scopes)
    }
    for scope in scopes:
        await index.upsert(scope, make_points(chunks[scope]))
    same = {chunk.id for chunk in chunks[scopes[0]]}
    for scope in scopes:
        legs = [dense_leg("word1 word2"), sparse_leg("word1 word2")]
        for matches in await index.search(scope, legs):
            fetched = await index.fetch(scope, [match.chunk_id for match in matches])
            assert {chunk.title for chunk in fetched} == {scope.tenant}
        assert await index.chunk_ids(scope, None) == same
    await index.upsert(scopes[0], [Point(chunk=replace(chunks[scopes[0]][0], title="moved"))])
    await index.delete(scopes[1], sorted(same))
    await index.maintain(scopes[2])
    assert [await index.holds(scope) for scope in scopes] == [True, False, True, True]
    assert await index.fetch(scopes[3], sorted(same)) == sorted(
        chunks[scopes[3]], key=lambda chunk: chunk.id
    )
    assert len(await stored(server, "docs", "tenant")) == 60


def test_a_point_says_its_chunk_without_its_payload(scope: Scope) -> None:
    chunk_id = str(uuid.uuid4())
    point_id = turned(scope, chunk_id)
    assert point_id not in (chunk_id, turned(replace(scope, tenant="rival"), chunk_id))
    assert turned(scope, point_id) == chunk_id


async def test_an_error_names_no_field_of_another_tenant(index: QdrantIndex, scope: Scope) -> None:
    rival = replace(scope, tenant="rival")
    await index.upsert(rival, make_points([make_chunk("cat", meta={"merger": True})]))
    merger = dense_leg("cat", Condition(field="merger", op="eq", value=True))
    assert await index.search(scope, [merger]) == [[]]  # nothing was ever written
    await index.upsert(scope, make_points([make_chunk("cat", meta={"year": 2020})]))
    with pytest.raises(InputError) as caught:
        await index.search(
            scope, [dense_leg("cat", Condition(field="marger", op="eq", value=True))]
        )
    assert "merger" not in str(caught.value)
    assert "year" in str(caught.value)


async def test_fields_that_another_process_wrote_can_be_filtered_by(
    server: Server, scope: Scope
) -> None:
    here, there = QdrantIndex(server, dim=DIM), QdrantIndex(server, dim=DIM)
    chunk, other = make_chunk("cat", meta={"year": 2020}), make_chunk("cat", position=1)
    await here.upsert(scope, make_points([chunk]))
    await here.search(scope, [dense_leg("cat", Condition(field="year", op="gt", value=1))])
    other = replace(other, meta={"kind": "guide"})
    await there.upsert(scope, make_points([other]))
    leg = dense_leg("cat", Condition(field="kind", op="eq", value="guide"))
    assert await ids(here, scope, leg) == [other.id]


async def test_a_tenant_may_have_so_many_meta_fields_and_no_more(
    index: QdrantIndex, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qdrant, "MAX_FIELDS", 3)
    [one] = make_points([make_chunk("cat", meta={"a": 1, "b": 1, "c": 1})])
    [two] = make_points([make_chunk("cat", position=1, meta={"a": 1, "d": 1, "e": 1})])
    await index.upsert(scope, [one])
    with pytest.raises(InputError, match="has 3 meta fields and cannot take d, e") as caught:
        await index.upsert(scope, [two])
    assert caught.value.code == "too_many_fields"
    await index.upsert(replace(scope, tenant="other"), [two])


# Token vectors


async def test_room_for_token_vectors_is_made_once_and_has_no_graph(
    server: Server, index: QdrantIndex, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    create, update = server.client.create_vector_name, server.client.update_collection

    async def created(*told: Any) -> Any:
        made.append(told)
        return await create(*told)

    async def updated(name: str, *, vectors_config: Any) -> bool:
        made.append(vectors_config)
        return await update(name, vectors_config=vectors_config)

    monkeypatch.setattr(server.client, "create_vector_name", created)
    monkeypatch.setattr(server.client, "update_collection", updated)
    chunks = random_chunks(40)
    await index.upsert(scope, make_points(chunks[:20]))
    assert made == []
    for part in (chunks[20:30], chunks[30:]):
        await index.upsert(scope, make_points(part, by_token=True))
    [(name, field, config), layout] = made
    assert (name, field) == (scope.collection, "tokens")
    assert (config.dense.datatype, config.dense.distance) == ("turbo4", "Dot")
    assert (layout["tokens"].hnsw_config.m, layout["tokens"].hnsw_config.payload_m) == (0, 0)
    question = np.ones((1, DIM), np.float32)
    found = await index.max_sim(scope, question, [chunk.id for chunk in chunks])
    assert set(found) == {chunk.id for chunk in chunks[20:]}


# Settings


async def test_the_settings_choose_the_index(tmp_path: Path) -> None:
    settings = Settings(index={"kind": "qdrant", "url": "http://127.0.0.1:1"})
    index = build_index(settings, tmp_path, DIM, Bm25Encoder())
    assert isinstance(index, QdrantIndex)
    await index.close()


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("retrieval.indexes.qdrant")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    with pytest.raises(ConfigError, match=r"pip install 'plumbline-rag\[qdrant\]'"):
        build_index(Settings(index={"kind": "qdrant"}), tmp_path, DIM, Bm25Encoder())


def test_rank_bm25_is_refused_where_others_may_write(tmp_path: Path) -> None:
    settings = Settings(index={"kind": "qdrant"}, retrieval={"lexical": "rank_bm25"})
    with pytest.raises(ConfigError, match="would not see what other processes write"):
        build_index(settings, tmp_path, DIM, Bm25Encoder())
