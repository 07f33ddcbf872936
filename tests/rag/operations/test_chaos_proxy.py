"""The proxy of experiments, between two real connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from rag.operations.chaos.proxy import LOOPBACK, Proxy

pytestmark = pytest.mark.anyio
SHORT = 0.2


@contextlib.asynccontextmanager
async def echoing() -> AsyncIterator[Proxy]:
    """A proxy before a server that sends back what it gets, and `end` once its client has ended."""

    serving: list[asyncio.Task[None] | None] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(100):
                writer.write(piece)
            writer.write(b"end")
        writer.close()

    server = await asyncio.start_server(echo, LOOPBACK, 0)
    async with server, Proxy(server.sockets[0].getsockname()[1]).listening() as proxy:
        yield proxy
    await asyncio.gather(*filter(None, serving))


async def connected(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(LOOPBACK, proxy.port)


async def is_ended(proxy: Proxy) -> None:
    """Checks that a new connection ends without a byte."""
    reader, writer = await connected(proxy)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()


async def test_it_passes_on_both_ways_and_the_end_as_well() -> None:
    async with echoing() as proxy:
        reader, writer = await connected(proxy)
        writer.write(b"here")
        assert await reader.readexactly(4) == b"here"
        writer.write_eof()
        assert await reader.read() == b"end"
        writer.close()


async def test_what_is_held_back_arrives_after_the_block_on_old_and_new_connections() -> None:
    async with echoing() as proxy:
        old = await connected(proxy)
        old[1].write(b"0")
        assert await old[0].readexactly(1) == b"0"
        with proxy.holding():
            new = await connected(proxy)
            for _, writer in (old, new):
                writer.write(b"late")
            for reader, _ in (old, new):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(reader.read(1), SHORT)
        for reader, writer in (old, new):
            assert await reader.readexactly(4) == b"late"
            writer.close()


async def test_a_cut_ends_connections_with_what_was_held_back_and_others_may_come() -> None:
    async with echoing() as proxy:
        reader, writer = await connected(proxy)
        writer.write(b"0")
        await reader.readexactly(1)
        with proxy.holding():
            writer.write(b"lost")
            await asyncio.sleep(SHORT)
            proxy.cut()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        reader, writer = await connected(proxy)
        writer.write(b"1")
        assert await reader.readexactly(1) == b"1"
        writer.close()


async def test_a_delay_is_on_the_way_there_and_back() -> None:
    async with echoing() as proxy:
        reader, writer = await connected(proxy)
        began = asyncio.get_running_loop().time()
        with proxy.delaying(SHORT):
            writer.write(b"0")
            assert await reader.readexactly(1) == b"0"
        assert asyncio.get_running_loop().time() - began >= 2 * SHORT
        writer.close()


async def test_a_target_that_is_away_ends_the_connection() -> None:
    async with echoing() as proxy:
        target = proxy.port
    async with Proxy(target).listening() as proxy:
        await is_ended(proxy)
