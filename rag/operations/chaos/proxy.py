"""A TCP proxy between two processes, which delays, holds back or cuts what they send."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

_PIECE = 1 << 16
LOOPBACK = "127.0.0.1"


class Proxy:
    """Passes on what comes on a port of its own to another port of this machine.

    Attributes:
        port: where it listens, on loopback alone.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._delay = 0.0
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self.port = 0

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Proxy]:
        """Passes on until the end of the block."""
        server = await asyncio.start_server(self._accept, LOOPBACK, 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.cut()
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)

    @contextlib.contextmanager
    def delaying(self, seconds: float) -> Iterator[None]:
        """Delays each piece that is sent, in both directions, in the block."""
        self._delay = seconds
        try:
            yield
        finally:
            self._delay = 0.0

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        """Holds everything back in the block, as a network does that loses every packet.

        Connections stay open, new ones are accepted and hear nothing. What was sent arrives after
        the block, as TCP sends again what was lost.
        """
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    def cut(self) -> None:
        """Closes all connections on both sides; what was held back is lost. New ones may come."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = {writer}
        self._writers.add(writer)
        try:
            await self._open.wait()
            there, back = await asyncio.open_connection(LOOPBACK, self._target)
            ends.add(back)
            self._writers.add(back)
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
        except OSError:
            """Nobody listens there, or one end is gone: the other one learns it as well."""
        finally:
            self._writers -= ends
            for end in ends:
                end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Passes on until one side ends; the end is passed on, too."""
        while piece := await reader.read(_PIECE):
            await self._open.wait()
            if self._delay:
                await asyncio.sleep(self._delay)
            writer.write(piece)
            await writer.drain()
        await self._open.wait()
        writer.write_eof()
