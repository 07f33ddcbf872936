"""Checks of servers that answer, do not know the checks, fail them, or hang."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from generation.replicas import checks
from generation.replicas.checks import AWAY_AFTER, Checks
from generation.replicas.pool import Pool
from tests.model_server import model_server, says

pytestmark = pytest.mark.anyio

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
LISTED = '{"data": [{"id": "other"}, {"id": "tiny"}]}'
OLLAMA = '{"data": [{"id": "tiny:latest"}]}'


@pytest.mark.parametrize(
    ("pages", "is_in"),
    [
        ({"/health": "", "/v1/models": LISTED}, True),
        ({"/v1/models": OLLAMA}, True),
        ({"/health": ""}, True),
        ({}, True),
        ({"/health": "", "/v1/models": '{"data": [{"id": "other"}]}'}, False),
        ({"/health": "", "/v1/models": "<html>"}, False),
        ({"/health": "", "/v1/models": "[]"}, False),
        ({"/v1/models": LISTED, "/metrics": "vllm:num_requests_waiting{ many\n"}, True),
    ],
)
async def test_a_replica_is_ready_if_it_lists_the_model_or_has_no_list(
    pages: dict[str, str], is_in: bool
) -> None:
    with model_server(says("a")) as server:
        server.pages = pages
        assert await checked(server.base_url) is is_in


@pytest.mark.parametrize(("status", "is_in"), [(501, True), (500, False), (503, False)])
async def test_a_server_that_fails_is_away_and_one_that_knows_no_checks_is_not(
    status: int, is_in: bool
) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())

    async with listening(answer) as url:
        assert await checked(url) is is_in


async def test_one_that_hangs_or_drips_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "PATIENCE_SECONDS", 0.1)

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)

    async with listening(drip) as url:
        assert not await checked(url)


async def checked(url: str) -> bool:
    """Returns True if a server is in rotation after as many checks as it takes to be away."""
    pool = Pool([url])
    made = Checks([url], pool, model="tiny", api_key="key")
    async with made.running():
        for _ in range(AWAY_AFTER - 1):
            await made._check(0)
        return pool.is_in(0)


@contextlib.asynccontextmanager
async def listening(answer: Answer) -> AsyncIterator[str]:
    """Answers each connection in this way, and closes it."""
    answering: set[asyncio.Task[None] | None] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.add(asyncio.current_task())
        with contextlib.closing(writer):
            await answer(writer)

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    await asyncio.gather(*filter(None, answering), return_exceptions=True)
