"""A Qdrant cluster by its nodes' addresses; some nodes fail or are not Qdrant."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rag.errors import ConfigError, NotFoundError, UpstreamError
from rag.types import Scope
from retrieval.indexes import qdrant_nodes, qdrant_server
from retrieval.indexes.qdrant import QdrantIndex
from retrieval.indexes.qdrant_server import Server, connect
from tests.fakes import HashEmbedder, dense_leg, make_chunk, make_points, sparse_leg
from tests.gates import Gate, close_server, gates
from tests.ports import free_port
from tests.qdrant_grpc import grpc_port
from tests.qdrant_rest import rest_port
from tests.qdrant_servers import NO_INDEXES
from tests.qdrant_shards import ShardedClient
from tests.servers import serving, submit

PAUSE = qdrant_server.FIRST_PAUSE
pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop"), NO_INDEXES]

DIM = HashEmbedder().dim
SCOPE = Scope(tenant="acme", collection="handbook")
PATIENCE = 60.0


@dataclass
class Node:
    """One node: an address for REST and one for gRPC."""

    rest: Gate
    grpc: Gate
    is_ready: bool = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.rest.port}"

    @property
    def requests(self) -> int:
        return self.rest.requests + self.grpc.requests

    async def die(self) -> None:
        await self.rest.die()
        await self.grpc.die()

    async def start(self) -> None:
        await self.rest.start()
        await self.grpc.start()

    def fall_silent(self) -> None:
        self.rest.fall_silent()
        self.grpc.fall_silent()

    def speak(self) -> None:
        self.rest.speak()
        self.grpc.speak()


def _node(made: Sequence[Gate]) -> Node:
    rest, grpc = made
    return Node(rest, grpc)


@dataclass
class Cluster:
    """Nodes with the same data."""

    stored: ShardedClient
    nodes: list[Node] = field(default_factory=list)


@contextlib.asynccontextmanager
async def cluster(*versions: str, peers: Sequence[int] = (1, 2, 3)) -> AsyncIterator[Cluster]:
    """Runs a node for each version in this process; each can die separately."""
    async with contextlib.AsyncExitStack() as running:
        made = Cluster(ShardedClient())
        running.push_async_callback(made.stored.close)
        for version in versions:
            place = len(made.nodes)

            def is_ready(place: int = place) -> bool:
                return made.nodes[place].is_ready

            rest = await running.enter_async_context(
                rest_port(made.stored, version=version, peers=peers, is_ready=is_ready)
            )
            grpc = await running.enter_async_context(grpc_port(stored=made.stored, version=version))
            made.nodes.append(_node(await running.enter_async_context(gates(rest, grpc))))
        yield made


@pytest.fixture(params=[True, False], ids=["grpc", "rest"])
def prefer_grpc(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qdrant_server, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(qdrant_nodes, "CHECK_SECONDS", 0.1)


@contextlib.asynccontextmanager
async def connected(
    *nodes: Node, prefer_grpc: bool, spread: bool = False, seconds: float = 30
) -> AsyncIterator[Server]:
    server = connect(
        *(node.url for node in nodes),
        api_key=None,
        grpc_port=[node.grpc.port for node in nodes],
        prefer_grpc=prefer_grpc,
        timeout=seconds,
        spread=spread,
    )
    try:
        yield server
    finally:
        await server.close()


async def until(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def listed(server: Server) -> list[str]:
    held = await server.call(server.client.get_collections)
    return [collection.name for collection in held.collections]


# Nodes that fail


@pytest.mark.parametrize("spread", [False, True], ids=["first", "spread"])
async def test_nodes_that_die_amid_questions_and_an_ingest_fail_nothing(
    prefer_grpc: bool, spread: bool
) -> None:
    batches = [
        make_points([make_chunk(f"cat {b} {n}", document_id=f"d{b}") for n in range(4)])
        for b in range(40)
    ]
    async with (
        cluster("1.20.0", "1.20.0", "1.20.0") as held,
        connected(*held.nodes, prefer_grpc=prefer_grpc, spread=spread) as server,
    ):
        index = QdrantIndex(server, dim=DIM)
        await index.upsert(SCOPE, batches[0])
        written = asyncio.Event()
        asked = 0

        async def write() -> None:
            for batch in batches[1:]:
                await index.upsert(SCOPE, batch)
                await asyncio.sleep(0.02)
            written.set()

        async def ask() -> None:
            nonlocal asked
            while not written.is_set():
                hits = await index.search(SCOPE, [dense_leg("cat"), sparse_leg("cat")])
                assert all(hits)
                assert await index.fetch(SCOPE, [hits[0][0].chunk_id])
                asked += 1

        async def kill() -> None:
            while not written.is_set():
                for node in held.nodes:
                    await node.die()
                    await asyncio.sleep(0.3)
                    await node.start()
                    await asyncio.sleep(0.3)

        async with asyncio.TaskGroup() as together:
            for work in (write, ask, ask, kill):
                together.create_task(work())
        assert asked
        expected = {point.chunk.id for batch in batches for point in batch}
        assert await index.chunk_ids(SCOPE, None) == expected
        assert [n for n in held.nodes if not n.requests] == []


async def test_reads_go_to_one_node_or_to_all_in_turn(prefer_grpc: bool) -> None:
    for spread, reached in ((False, 1), (True, 3)):
        async with (
            cluster("1.20.0", "1.20.0", "1.20.0") as held,
            connected(*held.nodes, prefer_grpc=prefer_grpc, spread=spread) as server,
        ):
            index = QdrantIndex(server, dim=DIM)
            await index.upsert(SCOPE, make_points([make_chunk("cat")]))
            await index.search(SCOPE, [dense_leg("cat")])
            await until(lambda: all(node.requests for node in held.nodes))
            await asyncio.sleep(0.3)  # the first requests to each node have ended
            before = [node.requests for node in held.nodes]
            for _ in range(6):
                assert await index.search(SCOPE, [dense_leg("cat")]) != [[]]
            more = [n.requests > b for n, b in zip(held.nodes, before, strict=True)]
            assert sum(more) == reached
            assert await listed(server)  # the first node answers about changes


async def test_a_node_that_falls_silent_is_left_within_the_call(
    prefer_grpc: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qdrant_server, "SILENCE_SECONDS", 0.2)
    async with (
        cluster("1.20.0", "1.20.0") as held,
        connected(*held.nodes, prefer_grpc=prefer_grpc, seconds=PATIENCE) as server,
    ):
        assert await listed(server) == []
        await until(lambda: held.nodes[1].requests > 0)
        await asyncio.sleep(0.3)
        held.nodes[0].fall_silent()
        started = time.monotonic()
        assert await listed(server) == []
        assert time.monotonic() - started < PATIENCE


async def test_a_node_that_is_silent_from_the_start_takes_no_call_with_it(
    prefer_grpc: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qdrant_server, "GREETING_SECONDS", 0.2)
    monkeypatch.setattr(qdrant_server, "ATTEMPTS", 1)
    async with (
        cluster("1.20.0", "1.20.0") as held,
        connected(*held.nodes, prefer_grpc=prefer_grpc, seconds=PATIENCE) as server,
    ):
        held.nodes[0].fall_silent()
        assert await listed(server) == []


async def test_a_change_whose_answer_was_lost_may_be_asked_for_again(
    prefer_grpc: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Collections, aliases, fields, points: the first node makes the change, the second too."""
    monkeypatch.setattr(qdrant_server, "SILENCE_SECONDS", 0.2)
    async with (
        cluster("1.20.0", "1.20.0") as held,
        connected(*held.nodes, prefer_grpc=prefer_grpc, seconds=PATIENCE) as server,
    ):
        first, index = held.nodes[0], QdrantIndex(server, dim=DIM)
        points = make_points([make_chunk("cat")])

        async def lost(change: Callable[[], Awaitable[object]]) -> None:
            await listed(server)
            await until(lambda: bool(server._nodes.others(server._nodes._nodes[1])))
            await until(lambda: bool(server._nodes.others(server._nodes._nodes[0])))
            first.fall_silent()
            await change()
            first.speak()
            await until(lambda: server._nodes._nodes[0].fault is None)

        await lost(lambda: index.collections.create_version("handbook"))
        await lost(lambda: index.versions.switch("handbook", "handbook.v1"))
        await lost(lambda: index.versions.switch("handbook", "handbook.v1"))
        await lost(lambda: index.upsert(SCOPE, points))
        assert await index.versions.current("handbook") == "handbook.v1"
        assert await index.chunk_ids(SCOPE, None) == {points[0].chunk.id}
        await lost(lambda: index.delete(SCOPE, [points[0].chunk.id]))
        assert await index.chunk_ids(SCOPE, None) == set()


async def test_what_a_node_refuses_is_asked_of_no_other(prefer_grpc: bool) -> None:
    async with (
        cluster("1.20.0", "1.20.0") as held,
        connected(*held.nodes, prefer_grpc=prefer_grpc) as server,
    ):
        await listed(server)
        await until(lambda: held.nodes[1].requests > 0)
        await asyncio.sleep(0.3)
        before = held.nodes[1].requests
        with pytest.raises(NotFoundError):
            await server.call(server.client.get_collection, "nowhere")
        assert held.nodes[1].requests == before


async def test_where_no_node_answers_all_are_named_without_their_secrets(
    prefer_grpc: bool,
) -> None:
    ports = [free_port(), free_port()]
    urls = [f"http://someone:hunter{port}@127.0.0.1:{port}" for port in ports]
    server = connect(
        *urls, api_key=None, grpc_port=ports, prefer_grpc=prefer_grpc, timeout=5, spread=True
    )
    with pytest.raises(UpstreamError, match="cannot be reached") as caught:
        await listed(server)
    assert caught.value.detail.count("http://***@127.0.0.1:") == 2
    assert "hunter" not in caught.value.in_full()
    await server.close()


async def test_all_nodes_back_from_an_outage_are_found_at_once(
    prefer_grpc: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qdrant_server, "FIRST_PAUSE", PAUSE)
    async with (
        cluster("1.20.0", "1.20.0") as held,
        connected(*held.nodes, prefer_grpc=prefer_grpc, seconds=5) as server,
    ):
        await listed(server)
        for node in held.nodes:
            await node.die()
        with pytest.raises(UpstreamError):
            await listed(server)
        await held.nodes[1].start()
        assert await listed(server) == []


async def test_closing_ends_the_checks(prefer_grpc: bool) -> None:
    async with cluster("1.20.0", "1.20.0") as held:
        before = asyncio.all_tasks()
        async with connected(*held.nodes, prefer_grpc=prefer_grpc) as server:
            await listed(server)
            await held.nodes[0].die()
            await listed(server)
            assert {t for t in asyncio.all_tasks() - before if "_watch" in repr(t)}
        await asyncio.sleep(0.05)
        assert not {t for t in asyncio.all_tasks() - before if "_watch" in repr(t)}


# Addresses that are something else


@contextlib.asynccontextmanager
async def web_page() -> AsyncIterator[int]:
    """A web server that has a page for everything."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n"
                b"Connection: close\r\n\r\n<html>"
            )
            await writer.drain()
        writer.close()

    listening = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        await close_server(listening)


@pytest.mark.parametrize("place", [0, 1])
async def test_an_address_that_is_no_qdrant_is_told_and_the_others_go_on(
    prefer_grpc: bool, place: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with cluster("1.20.0") as held, web_page() as port, gates(port, port) as page:
        nodes = list(held.nodes)
        nodes.insert(place, _node(page))
        async with connected(*nodes, prefer_grpc=prefer_grpc, seconds=5) as server:
            assert await listed(server) == []
            await until(lambda: "is no Qdrant server" in caplog.text)
            assert nodes[place].url in caplog.text
            assert await listed(server) == []
        async with connected(nodes[place], prefer_grpc=prefer_grpc, seconds=5) as server:
            with pytest.raises(ConfigError, match="is no Qdrant server"):
                await listed(server)


async def test_a_node_that_is_too_old_is_left_out(
    prefer_grpc: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        cluster("1.18.3", "1.20.0") as held,
        connected(*held.nodes, prefer_grpc=prefer_grpc) as server,
    ):
        assert await listed(server) == []
        assert "is version 1.18.3, which cannot keep" in caplog.text


async def test_nodes_of_different_versions_are_told_and_go_on(
    prefer_grpc: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        cluster("1.19.0", "1.20.0") as held,
        connected(*held.nodes, prefer_grpc=prefer_grpc) as server,
    ):
        await listed(server)
        await until(lambda: "differ" in caplog.text)
        assert f"{held.nodes[1].url} is version 1.20.0" in caplog.text
        assert f"{held.nodes[0].url} is 1.19.0" in caplog.text
        await held.nodes[0].die()
        assert await listed(server) == []


@pytest.mark.parametrize("peers", [(7, 8), ()], ids=["a cluster", "alone"])
async def test_a_node_of_another_cluster_is_neither_read_nor_written(
    prefer_grpc: bool, peers: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    async with cluster("1.20.0") as ours, cluster("1.20.0", peers=peers) as theirs:
        nodes = [*ours.nodes, *theirs.nodes]
        async with connected(*nodes, prefer_grpc=prefer_grpc, spread=True, seconds=5) as server:
            index = QdrantIndex(server, dim=DIM)
            await index.upsert(SCOPE, make_points([make_chunk("cat")]))
            await until(lambda: "different Qdrant clusters" in caplog.text)
            assert nodes[1].url in caplog.text
            for _ in range(4):
                assert await index.search(SCOPE, [dense_leg("cat")]) != [[]]
            await nodes[0].die()
            with pytest.raises(UpstreamError):
                await index.search(SCOPE, [dense_leg("cat")])
        assert (await theirs.stored.get_collections()).collections == []


async def test_a_node_that_is_behind_is_asked_where_there_is_no_other(
    prefer_grpc: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with (
        cluster("1.20.0", "1.20.0") as held,
        connected(*held.nodes, prefer_grpc=prefer_grpc, seconds=5) as server,
    ):
        held.nodes[0].is_ready = False
        assert await listed(server) == []
        assert "is behind" in caplog.text
        await held.nodes[1].die()
        assert await listed(server) == []
        held.nodes[0].is_ready = True
        await until(lambda: f"answers again: {held.nodes[0].url}" in caplog.text)


# The service


async def test_a_service_goes_on_while_one_node_after_the_other_is_killed(tmp_path: Path) -> None:
    async with cluster("1.20.0", "1.20.0") as held:
        settings = {
            "RAG_INDEX__KIND": "qdrant",
            "RAG_INDEX__URL": ",".join(node.url for node in held.nodes),
            "RAG_INDEX__GRPC_PORT": ",".join(str(node.grpc.port) for node in held.nodes),
            "RAG_INDEX__SPREAD_READS": "true",
        }
        killing = asyncio.create_task(_kill(held.nodes))
        await asyncio.to_thread(_load_and_ask, tmp_path / "data", settings)
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)


async def _kill(nodes: Sequence[Node]) -> None:
    while True:
        for node in nodes:
            await asyncio.sleep(1)
            await node.die()
            await asyncio.sleep(1)
            await node.start()
            await asyncio.sleep(1)  # it is found again


def _load_and_ask(data: Path, settings: dict[str, str]) -> None:
    with serving(data, env=settings) as api, api.client() as http:
        for n in range(12):
            document = {"id": f"d{n}", "text": f"Lamp {n} burns at night in room {n}. " * 20}
            assert submit(http, document)["counts"]["succeeded"] == 1
            for _ in range(5):
                asked = http.post("/v1/query", json={"query": f"Where does lamp {n} burn?"})
                assert asked.status_code == 200, asked.text
                assert asked.json()["degraded"] == []


class Sleeper:
    """A client that answers after a time, but health checks at once."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def info(self) -> None:
        pass

    async def scroll(self) -> str:
        await asyncio.sleep(self.seconds)
        return "found"

    async def close(self) -> None:
        pass


async def test_a_slow_node_takes_the_time_of_its_own_try_alone() -> None:
    clients: list[Any] = [Sleeper(60), Sleeper(0)]
    slow, quick = (qdrant_nodes.Node(each, "http://node", version="1.20.0") for each in clients)
    server = Server(slow, quick, timeout=0.3)
    assert await server.call(clients[0].scroll) == "found"
    assert slow.fault is not None
    assert quick.fault is None
    await server.close()
