"""What the index on a Qdrant server does beyond the contract that all indexes keep."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grpc import StatusCode
from qdrant_client import models

from rag.build.storage import build_index
from rag.errors import (
    BusyError,
    ConfigError,
    InputError,
    NotFoundError,
    RagError,
    StorageError,
    UpstreamError,
)
from rag.protocols import StoredIndex
from rag.settings.tree import Settings
from rag.types import Chunk, Condition, Leg, Match, Point, Scope
from retrieval.bm25 import Bm25Encoder, rounded_mean
from retrieval.indexes import qdrant, qdrant_server
from retrieval.indexes.edge import EdgeIndex
from retrieval.indexes.qdrant import QdrantIndex
from retrieval.indexes.qdrant_points import turned
from retrieval.indexes.qdrant_server import Server, connect
from tests.fakes import HashEmbedder, dense_leg, make_chunk, make_points, sparse_leg
from tests.qdrant_grpc import grpc_qdrant
from tests.qdrant_servers import NO_INDEXES, local_qdrant

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop"), NO_INDEXES]

DIM = HashEmbedder().dim
WORDS = [f"word{i}" for i in range(40)]


@pytest.fixture(params=[local_qdrant, grpc_qdrant], ids=["local", "grpc"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    async with request.param() as made:
        yield made


@pytest.fixture
def index(server: Server) -> QdrantIndex:
    return QdrantIndex(server, dim=DIM)


def random_chunks(n: int, *, seed: int = 7) -> list[Chunk]:
    """Texts of 3 to 40 words, the first words of the list the commonest."""
    rng = random.Random(seed)
    weights = [1 / (1 + i) for i in range(len(WORDS))]
    texts = [" ".join(rng.choices(WORDS, weights, k=rng.randint(3, 40))) for _ in range(n)]
    return [make_chunk(text, position=i) for i, text in enumerate(texts)]


def skewed_chunks(n: int, *, seed: int = 7) -> list[Chunk]:
    """Eight short texts, eight long ones, and so on."""
    rng = random.Random(seed)
    lengths = [rng.randint(60, 90) if i // 8 % 2 else rng.randint(3, 8) for i in range(n)]
    texts = [" ".join(rng.choices(WORDS, k=length)) for length in lengths]
    return [make_chunk(text, position=i) for i, text in enumerate(texts)]


async def ids(index: QdrantIndex, scope: Scope, leg: Leg) -> list[str]:
    return [match.chunk_id for match in (await index.search(scope, [leg]))[0]]


async def stored(server: Server, name: str, payload: str) -> list[Any]:
    records, _ = await server.client.scroll(name, limit=10_000)
    return [(record.payload or {})[payload] for record in records]


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


async def assert_equal_rankings(ours: StoredIndex, theirs: StoredIndex, scope: Scope) -> None:
    """Both legs of some questions, all matches, to the last digits of a float."""
    rng = random.Random(9)
    for _ in range(20):
        text = " ".join(rng.choices(WORDS, k=4))
        legs = [dense_leg(text, limit=500), sparse_leg(text, limit=500)]
        for a, b in zip(
            await ours.search(scope, legs), await theirs.search(scope, legs), strict=True
        ):
            assert_same_ranking(a, b, rel=1e-6)
    terms = [int(v.indices[0]) for v in Bm25Encoder().encode([*WORDS, "unseen"])]
    assert await ours.idf(scope, terms) == pytest.approx(await theirs.idf(scope, terms), rel=1e-6)


def assert_same_ranking(
    ours: Sequence[Match], theirs: Sequence[Match], *, rel: float = 1e-4
) -> None:
    """The same chunks in the same order; those that differ by rounding alone may change places."""
    assert len(ours) == len(theirs)
    scores = {match.chunk_id: match.score for match in theirs}
    for a, b in zip(ours, theirs, strict=True):
        assert a.score == pytest.approx(b.score, rel=rel, abs=1e-6)
        assert a.score == pytest.approx(scores[a.chunk_id], rel=rel, abs=1e-6)


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


# Mean length


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


# Bulk loading, versions


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
    assert (await index.versions.stored(name), await index.versions.current(name)) == ([1], 1)
    version = await index.collections.create_version(name)
    beside = replace(scope, collection=f"{name}.v{version}")
    await index.upsert(beside, make_points([new]))
    assert await ids(index, scope, dense_leg("cat")) == [old.id]
    assert await ids(index, beside, dense_leg("cat")) == [new.id]

    seen: list[list[str]] = []

    async def look() -> None:
        while True:
            seen.append(await ids(index, scope, sparse_leg("cat")))
            await asyncio.sleep(0)

    looking = asyncio.create_task(look())
    for target in itertools.islice(itertools.cycle([version, 1]), 20):
        await index.versions.switch(name, target)
        await asyncio.sleep(0)
    looking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await looking
    assert {tuple(found) for found in seen} == {(old.id,), (new.id,)}

    assert await index.versions.switch(name, version) == 1
    assert await index.versions.stored(name) == [1, 2]
    with pytest.raises(InputError, match="Version 2 of 'handbook' is in use"):
        await index.versions.drop(name, version)
    await index.versions.drop(name, 1)
    assert await ids(index, scope, dense_leg("cat")) == [new.id]
    assert await index.collections.create_version(name) == 3
    with pytest.raises(NotFoundError):
        await index.versions.switch(name, 9)


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


async def test_a_collection_that_tenants_share_gets_no_version_for_one_of_them(
    index: QdrantIndex, scope: Scope
) -> None:
    await index.upsert(scope, make_points([make_chunk("cat")]))
    await index.upsert(Scope(tenant="umbrella", collection=scope.collection), [])
    await index.begin_version(scope)
    points = make_points([make_chunk("dog")])
    await index.upsert(Scope(tenant="umbrella", collection=scope.collection), points)
    with pytest.raises(InputError, match="holds chunks of other tenants") as caught:
        await index.begin_version(scope)
    assert caught.value.code == "shared_collection"


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


# Servers that fail


class Rest:
    """A server on a free port that answers as a list says, then as Qdrant would."""

    def __init__(self, *answers: tuple[int, Any] | None, version: str = "1.19.0") -> None:
        self.answers = list(answers)
        self.version = version
        self.asked: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split()[1]
        self.asked.append(path)
        answer: tuple[int, Any] | None = (200, {"result": {"count": 7}, "time": 0.0})
        if path == "/":
            answer = 200, {"title": "qdrant", "version": self.version}
        elif self.answers:
            answer = self.answers.pop(0)
        if answer is None:
            writer.close()  # in the middle of a request, as a server that is killed does
            return
        status, body = answer
        text = body if isinstance(body, str) else json.dumps(body)
        writer.write(
            f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode()
        )
        await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def answering(rest: Rest) -> AsyncIterator[Server]:
    listening = await asyncio.start_server(rest, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        made = connect(url, api_key=None, grpc_port=1, prefer_grpc=False, timeout=5)
        yield made
        await made.close()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qdrant_server, "FIRST_PAUSE", 0.001)


def said(error: str) -> dict[str, Any]:
    return {"status": {"error": error}, "time": 0.0}


@pytest.mark.parametrize(
    "failure",
    [None, (500, said("panicked")), (503, "no"), (429, said("slow down"))],
    ids=["cut off", "500", "503", "429"],
)
async def test_what_may_go_through_is_tried_again(failure: tuple[int, Any] | None) -> None:
    rest = Rest(failure, failure)
    async with answering(rest) as server:
        assert (await server.call(server.client.count, "docs")).count == 7
    assert rest.asked == ["/", *["/collections/docs/points/count"] * 3]


async def test_what_may_go_through_is_tried_again_over_grpc(scope: Scope) -> None:
    failures = StatusCode.UNAVAILABLE, StatusCode.INTERNAL
    async with grpc_qdrant(*failures) as server:
        index = QdrantIndex(server, dim=DIM)
        await index.upsert(scope, make_points([make_chunk("cat")]))
        assert await index.holds(scope)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (StatusCode.UNAVAILABLE, UpstreamError),
        (StatusCode.DEADLINE_EXCEEDED, UpstreamError),
        (StatusCode.RESOURCE_EXHAUSTED, BusyError),
        (StatusCode.UNAUTHENTICATED, ConfigError),
        (StatusCode.UNIMPLEMENTED, ConfigError),
        (StatusCode.INVALID_ARGUMENT, StorageError),
    ],
)
async def test_a_failure_over_grpc_has_its_kind(code: StatusCode, kind: type[RagError]) -> None:
    async with grpc_qdrant(*[code] * qdrant_server.ATTEMPTS) as server:
        with pytest.raises(kind) as caught:
            await server.call(server.client.count, "docs")
        assert type(caught.value) is kind
        assert "as the test says" in caught.value.detail


@pytest.mark.parametrize(
    ("answer", "kind", "message", "cause"),
    [
        ((500, said("panicked")), UpstreamError, r"failed\. Its log says more", "panicked."),
        (None, UpstreamError, r"cannot be reached\. Start it, or mend `index\.url`", "."),
        ((429, said("slow down")), BusyError, r"is at its limit\.", "slow down."),
        ((401, said("no key")), ConfigError, r"refuses the API key\. Mend `index.api_k", "no key."),
        ((404, "<html>"), ConfigError, r"is no Qdrant server\. Mend `index\.url`", "<html>."),
        ((200, "<html>"), ConfigError, r"is no Qdrant server", "."),
        ((404, said("Collection not there")), NotFoundError, r"does not hold it", "not there."),
        ((400, said("bad vector")), StorageError, r"refuses the request", "bad vector."),
        ((409, said("Collection already exists")), StorageError, r"has it already", "exists."),
        ((500, said("No space left")), StorageError, r"no disk space left.*Free some", "left."),
    ],
)
async def test_a_failure_says_what_mends_it(
    answer: tuple[int, Any] | None, kind: type[RagError], message: str, cause: str
) -> None:
    rest = Rest(*[answer] * qdrant_server.ATTEMPTS)
    async with answering(rest) as server:
        with pytest.raises(kind, match=message) as caught:
            await server.call(server.client.count, "docs")
        assert type(caught.value) is kind
        assert "127.0.0.1" not in str(caught.value)
        assert caught.value.detail.startswith("http://127.0.0.1:")
        assert caught.value.detail.endswith(cause)


async def test_a_server_that_does_not_answer_is_given_up_in_time() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listening = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        server = connect(url, api_key=None, grpc_port=1, prefer_grpc=False, timeout=0.05)
        with pytest.raises(UpstreamError, match=r"did not answer within 0\.05 s.*`index\.timeout`"):
            await server.call(server.client.count, "docs")
        await server.close()


@pytest.mark.parametrize("prefer_grpc", [True, False], ids=["grpc", "rest"])
async def test_a_server_that_is_not_there_is_named_with_what_to_do(
    scope: Scope, prefer_grpc: bool
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    server = connect(url, api_key=None, grpc_port=port, prefer_grpc=prefer_grpc, timeout=5)
    index = QdrantIndex(server, dim=DIM)
    with pytest.raises(UpstreamError) as caught:
        await index.search(scope, [dense_leg("cat")])
    assert "The Qdrant server cannot be reached. Start it, or mend `index.url`" in str(caught.value)
    assert caught.value.detail.startswith(f"{url}: ")
    await index.close()


async def test_a_server_that_does_not_say_which_version_is_searched_fails_nothing(
    scope: Scope,
) -> None:
    async with answering(Rest((403, {"status": {"error": "no global access"}}))) as server:
        assert await QdrantIndex(server, dim=DIM).version(scope) == ""


async def test_a_server_that_would_mix_tenants_statistics_is_refused() -> None:
    async with answering(Rest(version="1.18.3")) as server:
        with pytest.raises(ConfigError, match=r"version 1\.18\.3.*Update it to 1\.19 or later"):
            await server.call(server.client.count, "docs")


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
