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
        self._refuses = False
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Proxy]:
        """Passes on until the end of the block."""
        server = await asyncio.start_server(self._serve, LOOPBACK, 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self._close_all()

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

    @contextlib.contextmanager
    def cutting(self) -> Iterator[None]:
        """Closes all connections, and each new one, in the block."""
        self._refuses = True
        self._close_all()
        try:
            yield
        finally:
            self._refuses = False

    def _close_all(self) -> None:
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        await self._open.wait()
        try:
            there, back = await asyncio.open_connection(LOOPBACK, self._target)
        except OSError:  # nobody listens there: whoever called is told in the same way
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, back))
                group.create_task(self._pass(there, writer))
        finally:
            self._writers -= {writer, back}
            writer.transport.abort()
            back.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Passes on until one side ends; the end is passed on, too."""
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(_PIECE):
                await self._open.wait()
                if self._delay:
                    await asyncio.sleep(self._delay)
                writer.write(piece)
                await writer.drain()
            await self._open.wait()
            writer.write_eof()
