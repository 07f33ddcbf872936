"""Reads of questions over gRPC: requests and answers equal those of the client's models."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc
import numpy as np
import pytest
from qdrant_client import grpc as wire
from qdrant_client.conversions.conversion import GrpcToRest

from rag.types import Condition, Scope
from retrieval.indexes.qdrant import QdrantIndex
from retrieval.indexes.qdrant_models import ModelCalls
from retrieval.indexes.qdrant_points import turned
from retrieval.indexes.qdrant_reads import Calls
from retrieval.indexes.qdrant_server import Server, connect
from retrieval.indexes.qdrant_shards import Placement
from retrieval.indexes.qdrant_wire import WireCalls
from tests.fakes import HashEmbedder, dense_leg, make_chunk, make_points, sparse_leg
from tests.qdrant_grpc import grpc_qdrant
from tests.qdrant_servers import NO_INDEXES, real_qdrant, remove_collections

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop"), NO_INDEXES]

EMBEDDER = HashEmbedder()
IDS = [str(uuid.UUID(int=n)) for n in range(3)]
ASKED = EMBEDDER.tokens("cat dog").astype(np.float32)
FILTERS = [
    Condition(field="year", op="gte", value=2020),
    Condition(field="due", op="lt", value="2024-05-31"),
    Condition(field="due", op="gt", value="2024-05-31T10:00:00+02:00"),
    Condition(field="final", op="eq", value=True),
    Condition(field="kind", op="in", value=("guide", "2024-05-31", 2, 2.5, False)),
    Condition(field="page", op="in", value=("none",)),
]
PLACE = Placement()
LEGS = [dense_leg("cat dog", *FILTERS), sparse_leg("cat cat dog", limit=3), dense_leg("dog")]
Ask = Callable[[Calls, str, Scope], Coroutine[Any, Any, Any]]
ASKS: list[Ask] = [
    lambda calls, name, scope: calls.search(name, scope, LEGS, PLACE, rescore=False),
    lambda calls, name, scope: calls.search(name, scope, LEGS, PLACE, rescore=True),
    lambda calls, name, scope: calls.max_sim(name, scope, ASKED, IDS, PLACE),
    lambda calls, name, scope: calls.chunks(name, scope, IDS, PLACE),
    lambda calls, name, scope: calls.vectors(name, scope, IDS, PLACE),
]


# Requests


@dataclass
class Noting(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Records requests for points, their API keys and timeouts; answers without points."""

    requests: list[tuple[str, bytes]] = field(default_factory=list)
    keys: set[object] = field(default_factory=set)
    seconds: list[float] = field(default_factory=list)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(partial(self._answer, details.method))

    async def _answer(self, method: str, request: bytes, context: Any) -> bytes:
        if method == "/qdrant.Qdrant/HealthCheck":
            version: bytes = wire.HealthCheckReply(
                title="qdrant", version="1.19.0"
            ).SerializeToString()
            return version
        self.requests.append((method, request))
        self.keys |= {value for key, value in context.invocation_metadata() if key == "api-key"}
        self.seconds.append(context.time_remaining())
        one = wire.QueryBatchResponse(result=[wire.BatchResult()] if "Query" in method else [])
        empty: bytes = one.SerializeToString()
        return empty


@contextlib.asynccontextmanager
async def noting(seconds: float) -> AsyncIterator[tuple[Server, Noting]]:
    noted, listening = Noting(), grpc.aio.server()
    listening.add_generic_rpc_handlers((noted,))
    port = listening.add_insecure_port("127.0.0.1:0")
    await listening.start()
    url = f"http://127.0.0.1:{port}"
    server = connect(url, api_key="opens", grpc_port=port, prefer_grpc=True, timeout=seconds)
    yield server, noted
    await server.client.close()
    await listening.stop(grace=None)


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
@pytest.mark.parametrize("ask", ASKS, ids=["search", "rescored", "max_sim", "chunks", "vectors"])
async def test_a_request_is_the_clients_own_byte_for_byte(scope: Scope, ask: Ask) -> None:
    async with noting(30.2) as (server, noted):
        for calls in (WireCalls(server), ModelCalls(server)):
            await ask(calls, "handbook", scope)
    ours, theirs = noted.requests
    assert ours == theirs
    assert noted.keys == {"opens"}
    for seconds in noted.seconds:
        assert 0 < seconds < 32  # whole seconds, and what gRPC rounds up


# Answers


@pytest.fixture(params=["stand_in", "server"])
async def served(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Server, str]]:
    """A server over gRPC, and the prefix of the test's collections on it."""
    prefix = f"test_{uuid.uuid4().hex}_"
    over_grpc = grpc_qdrant() if request.param == "stand_in" else real_qdrant(prefer_grpc=True)
    async with over_grpc as server:
        yield server, prefix
        await remove_collections(server, prefix)


async def filled(server: Server, prefix: str, scope: Scope) -> tuple[QdrantIndex, list[str]]:
    meta = {"year": 2021, "kind": ("guide", "Ü"), "final": True, "share": 0.1, "due": "2024-05-30"}
    chunks = [
        make_chunk("cat and dog", meta=meta, page=3, headings=("Pets", "Cats")),
        make_chunk("cat and cat", position=1, meta={"none": ()}),
        make_chunk("dog\n\x01 🐕", position=2, meta={"big": 2**53 + 1, "year": -1.5}),
    ]
    index = QdrantIndex(server, dim=EMBEDDER.dim, prefix=prefix)
    await index.upsert(scope, make_points(chunks, by_token=True))
    rival = Scope(tenant="rival", collection=scope.collection)
    await index.upsert(rival, make_points(chunks))
    return index, [chunk.id for chunk in chunks]


async def test_an_answer_is_read_as_the_client_reads_it(
    served: tuple[Server, str], scope: Scope
) -> None:
    server, prefix = served
    _, ids = await filled(server, prefix, scope)
    name = f"{prefix}{scope.collection}"
    legs = [dense_leg("cat dog"), sparse_leg("cat dog"), dense_leg("cat", FILTERS[0])]
    ours, theirs = WireCalls(server), ModelCalls(server)
    ranked = await ours.search(name, scope, legs, PLACE, rescore=False)
    assert [len(matches) for matches in ranked] == [3, 3, 1]
    assert ranked == await theirs.search(name, scope, legs, PLACE, rescore=False)
    late = await ours.max_sim(name, scope, ASKED, ids, PLACE)
    assert len(late) == 3
    assert late == await theirs.max_sim(name, scope, ASKED, ids, PLACE)
    chunks = await ours.chunks(name, scope, [*ids, IDS[0]], PLACE)
    assert len(chunks) == 3
    assert chunks == await theirs.chunks(name, scope, [*ids, IDS[0]], PLACE)
    vectors = await ours.vectors(name, scope, ids, PLACE)
    assert set(vectors) == set(ids)
    for chunk_id, vector in (await theirs.vectors(name, scope, ids, PLACE)).items():
        assert np.array_equal(vectors[chunk_id], vector)


async def test_a_question_has_no_models_made_of_its_answers(
    served: tuple[Server, str], scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, prefix = served
    index, ids = await filled(server, prefix, scope)

    def convert(_point: object) -> None:
        raise AssertionError("a model is made of each point: most of what a search costs here")

    monkeypatch.setattr(GrpcToRest, "convert_scored_point", convert)
    monkeypatch.setattr(GrpcToRest, "convert_retrieved_point", convert)
    [dense, sparse] = await index.search(scope, [dense_leg("cat"), sparse_leg("cat")])
    assert {match.chunk_id for match in dense} == set(ids)
    assert len(sparse) == 2
    assert [chunk.id for chunk in await index.fetch(scope, ids)] == ids
    assert set(await index.vectors(scope, ids)) == set(ids)
    assert set(await index.max_sim(scope, ASKED, ids)) == set(ids)


# Ids


@pytest.mark.parametrize(
    ("tenant", "chunk_id", "point_id"),
    [
        ("acme", IDS[0], "f7dd1b01-2510-5b80-ad9e-1b9c309383fa"),
        (
            "acme",
            "3046b53e-d4c2-5018-92d5-41b3f5ffba6b",
            "c79bae3f-f1d2-0b98-3f4b-5a2fc56c3991",
        ),
        (
            "ünï code",
            "3046b53e-d4c2-5018-92d5-41b3f5ffba6b",
            "49c6984b-010a-0003-0e07-6b72554b9891",
        ),
        ("acme", "f7dd1b01-2510-5b80-ad9e-1b9c309383fb", str(uuid.UUID(int=1))),
    ],
)
def test_points_keep_the_ids_that_they_were_stored_under(
    tenant: str, chunk_id: str, point_id: str
) -> None:
    scope = Scope(tenant=tenant, collection="handbook")
    assert turned(scope, chunk_id) == point_id
    assert turned(scope, point_id) == chunk_id
