"""Outage of a Qdrant server: the first good answer comes soon after its return."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable

import pytest

from rag.errors import UpstreamError
from retrieval.indexes.qdrant_server import Server, connect
from tests.ports import free_port
from tests.qdrant_grpc import grpc_port
from tests.servers import Json

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop")]

PROMPT = 1.0
"""Seconds from the return to the first good answer. With gRPC's own pauses it would be six after an
outage of 20 s, and thirteen after 60 s."""
Running = Callable[[int], contextlib.AbstractAsyncContextManager[object]]


@contextlib.asynccontextmanager
async def connected(port: int, *, prefer_grpc: bool) -> AsyncIterator[Server]:
    url = f"http://127.0.0.1:{port}"
    server = connect(url, api_key=None, grpc_port=port, prefer_grpc=prefer_grpc, timeout=5)
    yield server
    await server.close()


async def answers(server: Server) -> bool:
    try:
        await server.call(server.client.get_collections)
    except UpstreamError:
        return False
    return True


async def is_away(server: Server, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert not await answers(server)


async def comes_back(server: Server) -> float:
    """Waits for the first good answer; returns the seconds it took."""
    started = time.monotonic()
    while not await answers(server):
        pass
    return time.monotonic() - started


@contextlib.asynccontextmanager
async def over_grpc(port: int) -> AsyncIterator[None]:
    async with grpc_port(at=port):
        yield


@contextlib.asynccontextmanager
async def over_rest(port: int) -> AsyncIterator[None]:
    """Runs a server that keeps connections open and closes them when it stops."""
    open_: set[asyncio.StreamWriter] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                is_root = head.startswith(b"GET / ")
                body: Json = {"result": {"collections": []}}
                if is_root:
                    body = {"version": "1.19.0"}
                text = json.dumps({"title": "qdrant", **body})
                writer.write(
                    f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(text)}\r\n\r\n{text}".encode()
                )
                await writer.drain()

    async with await asyncio.start_server(talk, "127.0.0.1", port):
        yield
        for writer in open_:
            writer.transport.abort()


async def test_a_server_that_is_away_is_looked_for_several_times_a_second() -> None:
    port, knocks = free_port(), 0

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal knocks
        knocks += 1
        writer.close()

    async with connected(port, prefer_grpc=True) as server:
        async with over_grpc(port):
            assert await answers(server)
        async with await asyncio.start_server(refuse, "127.0.0.1", port):
            await is_away(server, 4.0)
        assert knocks > 6  # gRPC by itself: three, after 0, 1 and 2.6 s
        async with over_grpc(port):
            await comes_back(server)


@pytest.mark.parametrize(
    ("running", "seconds"),
    [
        pytest.param(over_rest, 1.0, id="rest"),
        pytest.param(over_grpc, 20.0, id="grpc, 20 s", marks=pytest.mark.attack),
        pytest.param(over_grpc, 60.0, id="grpc, 60 s", marks=pytest.mark.attack),
        pytest.param(over_rest, 20.0, id="rest, 20 s", marks=pytest.mark.attack),
    ],
)
async def test_the_first_good_answer_comes_with_the_server(
    running: Running, seconds: float
) -> None:
    port = free_port()
    async with connected(port, prefer_grpc=running is over_grpc) as server:
        async with running(port):
            assert await answers(server)
        await is_away(server, seconds)
        async with running(port):
            took = await comes_back(server)
            print(f"away {seconds:g} s; good again after {took:.2f} s")
            assert took < PROMPT or seconds < 20
