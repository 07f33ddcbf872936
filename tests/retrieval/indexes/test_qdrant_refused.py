"""The message about a request that a Qdrant server refuses says what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from grpc import StatusCode
from pydantic import BaseModel
from qdrant_client import models

from rag.errors import StorageError
from rag.types import Condition, Scope
from retrieval.indexes.qdrant import QdrantIndex
from tests.fakes import HashEmbedder, dense_leg, make_chunk, make_points, sparse_leg
from tests.qdrant_grpc import grpc_qdrant
from tests.qdrant_servers import NO_INDEXES
from tests.qdrant_shards import RefusedError, ShardedClient

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop"), NO_INDEXES]

DIM = HashEmbedder().dim


class StrictClient(ShardedClient):
    """Collections in strict mode; refusals have a server's messages."""

    def __init__(self, *, limit: int = 10**6, batch: int = 10**6, ef: int = 10**6) -> None:
        super().__init__()
        self.limit, self.batch, self.ef = limit, batch, ef

    async def upsert(self, name: str, points: Any, **asked: Any) -> None:
        _at_most(len(points), self.batch, "upsert limit")
        await super().upsert(name, points, **asked)

    async def scroll(self, name: str, **asked: Any) -> Any:
        _at_most(asked["limit"], self.limit, "limit")
        self._check_indexed(asked["scroll_filter"])
        return await super().scroll(name, **asked)

    async def delete(self, name: str, points: Any, **asked: Any) -> None:
        self._check_indexed(points)
        await super().delete(name, points, **asked)

    async def count(self, name: str, where: Any = None, **asked: Any) -> Any:
        self._check_indexed(where)
        return await super().count(name, where, **asked)

    async def facet(self, name: str, key: str, where: Any, **asked: Any) -> Any:
        _at_most(asked["limit"], self.limit, "limit")
        self._check_indexed(where)
        if key not in self.indexed:
            raise _refused(f'Index required but not found for "{key}"', "Create an index")
        return await super().facet(name, key, where, **asked)

    async def query_batch_points(self, name: str, requests: Sequence[models.QueryRequest]) -> Any:
        for request in requests:
            _at_most(request.limit or 0, self.limit, "limit")
            _at_most((request.params and request.params.hnsw_ef) or 0, self.ef, "hnsw_ef")
            self._check_indexed(request.filter)
        return await super().query_batch_points(name, requests)

    async def batch_update_points(self, name: str, operations: Sequence[Any]) -> Any:
        for operation in operations:
            if isinstance(operation, models.SetPayloadOperation):
                self._check_indexed(operation.set_payload.filter)
            if isinstance(operation, models.UpdateVectorsOperation):
                _at_most(len(operation.update_vectors.points), self.batch, "update limit")
        return await super().batch_update_points(name, operations)

    def _check_indexed(self, where: Any) -> None:
        for key in _keys(where):
            if key not in self.indexed:
                text = f'Index required but not found for "{key}" of one of the following types'
                raise _refused(f"{text}: [keyword]", "Create an index for this key or use another")


def _keys(value: Any) -> Iterator[str]:
    """Yields the fields that a filter uses."""
    if isinstance(value, models.FieldCondition):
        yield value.key
    elif isinstance(value, BaseModel):
        for _, inner in value:
            yield from _keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner)


def _at_most(value: int, limit: int, name: str) -> None:
    if value > limit:
        text = f'Limit exceeded {value} > {limit} for "{name}"'
        raise _refused(text, f'Reduce the "{name}" parameter to or below {limit}.')


def _refused(error: str, help_: str) -> RefusedError:
    return RefusedError(StatusCode.INVALID_ARGUMENT, f"Bad request: {error}. Help: {help_}")


# Strict mode


async def test_all_that_is_filtered_by_has_an_index(scope: Scope) -> None:
    async with grpc_qdrant(stored=StrictClient()) as server:
        index = QdrantIndex(server, dim=DIM)
        chunks = [make_chunk("cat " * n, position=n, meta={"year": n}) for n in range(1, 9)]
        points = make_points(chunks)
        await index.upsert(scope, points[:1])
        await index.upsert(scope, points)
        await index.maintain(scope)
        where = Condition(field="year", op="gt", value=4)
        [dense, sparse] = await index.search(
            scope, [dense_leg("cat", where), sparse_leg("cat", where)]
        )
        assert len(dense) == len(sparse) == 4
        assert len(await index.chunk_ids(scope, "doc")) == 8
        version = await index.begin_version(scope)
        await index.upsert(version, points)
        await index.maintain(version)
        await index.switch_version(scope, version)
        await index.delete(scope, [chunks[0].id])
        assert len(await index.chunk_ids(scope, None)) == 7


@pytest.mark.parametrize(
    ("behind", "said"),
    [
        (StrictClient(batch=3), 'Limit exceeded 4 > 3 for "upsert limit"'),
        (StrictClient(limit=3), 'Limit exceeded .* > 3 for "limit"'),
    ],
)
async def test_a_limit_of_strict_mode_is_named(
    behind: StrictClient, said: str, scope: Scope
) -> None:
    async with grpc_qdrant(stored=behind) as server:
        index = QdrantIndex(server, dim=DIM)
        with pytest.raises(StorageError, match="in strict mode, which forbids") as caught:
            await index.upsert(
                scope, make_points([make_chunk("cat", position=i) for i in range(4)])
            )
        assert caught.value.code == "strict_mode"
        caught.match("Raise that limit or switch strict mode off")
        assert said.split(" .* ", maxsplit=1)[0] in caught.value.detail


NOWHERE = models.Filter(
    must=[models.FieldCondition(key="nowhere", match=models.MatchValue(value="x"))]
)


@pytest.mark.parametrize(
    "asked",
    [{"params": models.SearchParams(hnsw_ef=9)}, {"limit": 9}, {"filter": NOWHERE}],
    ids=["ef", "limit", "no index"],
)
async def test_each_kind_of_limit_is_told_as_strict_mode_s(
    asked: dict[str, Any], scope: Scope
) -> None:
    behind = StrictClient()
    async with grpc_qdrant(stored=behind) as server:
        await QdrantIndex(server, dim=DIM).upsert(scope, make_points([make_chunk("cat")]))
        behind.limit = behind.ef = 8
        request = models.QueryRequest(query=[1.0] * DIM, using="dense", **({"limit": 1} | asked))
        with pytest.raises(StorageError) as caught:
            await server.call(server.client.query_batch_points, "handbook", [request])
        assert caught.value.code == "strict_mode"


# An alias that points nowhere


async def test_an_alias_that_points_nowhere_is_told_by_every_call_and_others_go_on() -> None:
    behind = ShardedClient()
    async with grpc_qdrant(stored=behind) as server:
        lost, other = (Scope(tenant="acme", collection=name) for name in ("lost", "other"))
        index, later = QdrantIndex(server, dim=DIM), QdrantIndex(server, dim=DIM)
        points = make_points([make_chunk("cat")])
        for scope in (lost, other):
            await index.upsert(scope, points)
        local: Any = behind.local._client
        local.aliases["lost"] = "lost.v7"
        ids = [points[0].chunk.id]
        calls: list[Callable[[QdrantIndex], Any]] = [
            lambda i: i.upsert(lost, points),
            lambda i: i.delete(lost, ids),
            lambda i: i.maintain(lost),
            lambda i: i.search(lost, [dense_leg("cat"), sparse_leg("cat")]),
            lambda i: i.fetch(lost, ids),
            lambda i: i.vectors(lost, ids),
            lambda i: i.chunk_ids(lost, None),
            lambda i: i.holds(lost),
            lambda i: i.idf(lost, [1]),
        ]
        for call in calls:
            for each in (index, later):
                with pytest.raises(StorageError, match=r"'lost' that is searched, v7, is not") as e:
                    await call(each)
                assert e.value.code == "dangling_alias"
                assert "'lost'" in e.value.detail
        assert await later.chunk_ids(other, None) == set(ids)


async def test_a_collection_that_was_never_made_is_no_fault(scope: Scope) -> None:
    async with grpc_qdrant() as server:
        index = QdrantIndex(server, dim=DIM)
        assert await index.search(scope, [dense_leg("cat")]) == [[]]
        await index.maintain(scope)
        assert await index.versions.stored(scope.collection) == []
