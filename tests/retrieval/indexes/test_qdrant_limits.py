"""Requests of the index stay in a Qdrant server's limits: no point, one, more than a page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import Message
from grpc import StatusCode
from grpc.aio import AioRpcError
from qdrant_client import AsyncQdrantClient, models
from qdrant_client import grpc as wire

from rag.types import Point, Scope
from retrieval.indexes import qdrant, qdrant_reads, qdrant_tenants
from retrieval.indexes.qdrant import QdrantIndex
from retrieval.indexes.qdrant_server import Server
from tests.fakes import HashEmbedder, dense_leg, make_chunk, make_points, sparse_leg
from tests.qdrant_grpc import grpc_port, grpc_qdrant
from tests.qdrant_limits import LIMITS, REQUIRED, RULES, faults
from tests.qdrant_servers import NO_INDEXES
from tests.servers import rag

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop"), NO_INDEXES]

EMBEDDER = HashEmbedder()
DIM = EMBEDDER.dim
PAGE = 4
AMOUNTS = [0, 1, PAGE, 2 * PAGE + 1]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with grpc_qdrant() as made:
        yield made


@pytest.fixture
def index(server: Server, monkeypatch: pytest.MonkeyPatch) -> QdrantIndex:
    for size in ("PAGE", "WRITE_SLICE", "TOKENS_SLICE"):
        monkeypatch.setattr(qdrant, size, PAGE)
    for reading in (qdrant_reads, qdrant_tenants):
        monkeypatch.setattr(reading, "PAGE", PAGE)
    monkeypatch.setattr(qdrant_reads, "TOKENS_PAGE", PAGE)
    return QdrantIndex(server, dim=DIM)


def points_of(amount: int, *, text: str = "cat dog", by_token: bool = True) -> list[Point]:
    chunks = [
        make_chunk(text, document_id=f"doc-{i}", position=i, meta={"nr": i}) for i in range(amount)
    ]
    return make_points(chunks, by_token=by_token)


# The index


@pytest.mark.parametrize("amount", AMOUNTS)
async def test_so_many_points_are_written_read_and_removed(
    index: QdrantIndex, scope: Scope, amount: int
) -> None:
    points = points_of(amount)
    chunks = [point.chunk for point in points]
    ids = [chunk.id for chunk in chunks]
    await index.upsert(scope, points)
    await index.upsert(scope, [Point(chunk=chunk) for chunk in chunks])
    assert await index.fetch(scope, ids) == chunks
    assert set(await index.vectors(scope, ids)) == set(ids)
    assert await index.chunk_ids(scope, None) == set(ids)
    assert await index.holds(scope) == bool(ids)
    sizes = [min(PAGE, amount - start) for start in range(0, amount, PAGE)]
    assert [len(page) async for page in index.pages(scope)] == sizes
    assert [len(page) async for page in index.points(scope)] == sizes
    asked = EMBEDDER.tokens("cat").astype(np.float32)
    assert set(await index.max_sim(scope, asked, ids)) == set(ids)
    found = await index.search(scope, [dense_leg("cat"), sparse_leg("cat")])
    assert [{match.chunk_id for match in leg} for leg in found] == [set(ids)] * 2
    anna = replace(scope, readers=frozenset({"user:anna"}))
    await index.set_acl(scope, "doc-0", anna.readers or frozenset())
    assert await index.chunk_ids(anna, None) == set(ids[:1])
    for leg in await index.search(anna, [dense_leg("cat"), sparse_leg("cat")]):
        assert [match.chunk_id for match in leg] == ids[:1]
    await index.maintain(scope)
    await index.delete(scope, ids)
    assert await index.chunk_ids(scope, None) == set()


@pytest.mark.parametrize("amount", AMOUNTS)
async def test_so_many_points_of_another_mean_are_weighed_anew(
    index: QdrantIndex, scope: Scope, amount: int
) -> None:
    await index.upsert(scope, points_of(amount))
    other = make_points(
        [make_chunk("mouse " * 40, document_id="long", position=i) for i in range(9)]
    )
    await index.upsert(scope, other)
    await index.maintain(scope)
    [found] = await index.search(scope, [sparse_leg("cat")])
    assert len(found) == amount


@pytest.mark.parametrize("amount", AMOUNTS)
async def test_a_version_of_so_many_points_is_filled_switched_and_emptied(
    index: QdrantIndex, scope: Scope, amount: int
) -> None:
    points = points_of(amount)
    await index.upsert(scope, points)
    version = await index.begin_version(scope)
    await index.upsert(version, points)
    await index.maintain(version)
    await index.switch_version(scope, version)
    previous = await index.previous_version(scope)
    assert previous is not None
    await index.delete(scope, [*(point.chunk.id for point in points), make_chunk("gone").id])
    assert await index.chunk_ids(previous, None) == set()
    await index.upsert(scope, points)
    await index.remove(scope)
    assert not await index.holds(scope)


async def test_nothing_is_asked_and_nothing_answered(index: QdrantIndex, scope: Scope) -> None:
    for _ in range(2):  # of a collection that is not there, and of one that is
        assert await index.search(scope, []) == []
        assert await index.idf(scope, []) == []
        assert await index.max_sim(scope, np.zeros((0, DIM), np.float32), ["x"]) == {}
        assert await index.fetch(scope, []) == []
        await index.delete(scope, [])
        await index.upsert(scope, points_of(1))


async def test_the_terms_of_more_than_a_page_are_weighed(index: QdrantIndex, scope: Scope) -> None:
    await index.upsert(scope, points_of(3))
    weights = await index.idf(scope, list(range(2 * PAGE + 1)))
    assert len(set(weights)) == 1  # none of them stands in a chunk


# The commands


async def test_a_collection_that_did_not_drift_is_ingested_and_indexed_again(
    tmp_path: Path,
) -> None:
    async with grpc_port() as port:
        env = {
            "RAG_INDEX__KIND": "qdrant",
            "RAG_INDEX__URL": f"http://127.0.0.1:{port}",
            "RAG_INDEX__GRPC_PORT": str(port),
        }
        # In threads: the index answers on this event loop.
        (tmp_path / "otters.txt").write_text("Otters hold hands while they sleep.")
        ran = await asyncio.to_thread(
            rag, "ingest", tmp_path / "otters.txt", data=tmp_path / "data", env=env
        )
        assert ran.returncode == 0, ran.stderr
        assert "without a new graph" not in ran.stderr
        ran = await asyncio.to_thread(rag, "reindex", data=tmp_path / "data", env=env)
        assert ran.returncode == 0, ran.stderr


# The server of the tests


NONE_SHOULD = models.Filter(min_should=models.MinShould(conditions=[], min_count=0))
DENSE = {"dense": models.VectorParams(size=4, distance=models.Distance.DOT)}
Asked = Callable[[AsyncQdrantClient], Coroutine[Any, Any, Any]]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (lambda c: c.batch_update_points("docs", []), "operations: value .* must be at least 1"),
        (lambda c: c.scroll("docs", limit=0), "limit: value 0 invalid, must be at least 1"),
        (lambda c: c.query_points("docs", [1.0], limit=0), "limit: value 0"),
        (lambda c: c.count(""), "collection_name: value '' invalid, must be at least 1 char"),
        (lambda c: c.count("x" * 256), "collection_name: must be at most 255"),
        (lambda c: c.create_collection("a/b", DENSE), "collection_name: cannot contain"),
        (lambda c: c.create_collection("a", DENSE, shard_number=0), "shard_number: value 0"),
        (lambda c: c.count("docs", NONE_SHOULD), "min_count: value 0"),
        (lambda c: c.facet("docs", ""), "key: value ''"),
        (lambda c: c.create_payload_index("docs", "", "keyword"), "field_name: value ''"),
        (lambda c: c.delete("docs", ["no-uuid"]), "Unable to parse UUID: no-uuid"),
        (
            lambda c: c.query_points("docs", models.SparseVector(indices=[1, 1], values=[1, 2])),
            "indices: must be unique",
        ),
        (
            lambda c: c.update_collection(
                "docs", hnsw_config=models.HnswConfigDiff(ef_construct=3)
            ),
            "ef_construct: value 3 invalid, must be at least 4",
        ),
    ],
)
async def test_what_a_server_refuses_is_refused(server: Server, asked: Asked, said: str) -> None:
    with pytest.raises(AioRpcError, match=said) as caught:
        await asked(server.client)
    assert caught.value.code() is StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (wire.FieldCondition(key="tenant"), "At least one field condition"),
        (wire.Filter(must=[wire.Condition()]), "Condition.condition_one_of: is missing"),
        (wire.DeletePoints(collection_name="docs"), "DeletePoints.points: is missing"),
        (wire.PointStruct(), "PointStruct.id: is missing"),
        (wire.SparseVector(values=[1.0], indices=[1, 2]), "must be the same length"),
        (wire.MultiDenseVector(), "must not be empty"),
        (
            wire.MultiDenseVector(vectors=[wire.DenseVector(data=[1] * n) for n in (1, 2)]),
            "the same dimension",
        ),
        (wire.QueryBatchPoints(collection_name="docs", timeout=0), "timeout: value 0"),
        (wire.ScalarQuantization(quantile=1.5), "quantile: must be at most 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_the_client_would_not_send_is_seen_too(message: Message, said: str) -> None:
    assert said in "; ".join(faults(message))


async def test_a_filter_of_no_words_and_no_ids_is_taken(server: Server, scope: Scope) -> None:
    await QdrantIndex(server, dim=DIM).upsert(scope, [])
    nothing = models.FieldCondition(key="tenant", match=models.MatchAny(any=[]))
    where = models.Filter(must=[nothing, models.HasIdCondition(has_id=[])])
    assert (await server.client.count("handbook", where)).count == 0


@pytest.mark.parametrize("name", [*LIMITS, *REQUIRED, *RULES])
def test_each_limit_is_of_something_in_the_api(name: str) -> None:
    kind, _, field = name.partition(".")
    described = getattr(wire, kind).DESCRIPTOR
    assert not field or field in {*described.fields_by_name, *described.oneofs_by_name}
