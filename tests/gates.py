"""Proxies of a server, each of which can die or hold answers back: nodes of a cluster."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from tests.ports import free_port


async def close_server(server: asyncio.Server) -> None:
    """Closes a server once the connections that it has accepted are made.

    asyncio forgets those that it is making, and their sockets stay open
    (https://github.com/python/cpython/issues/109564).
    """
    for each in server.sockets:
        asyncio.get_running_loop().remove_reader(each.fileno())
    await asyncio.sleep(0)
    server.close()


class Gate:
    """Forwards all bytes between a free port and a server's port."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._port = free_port()
        self._open: set[asyncio.StreamWriter] = set()
        self._listening: asyncio.Server | None = None
        self._speaks = asyncio.Event()
        self._speaks.set()
        self.requests = 0
        """Pieces that clients sent."""

    @property
    def port(self) -> int:
        return self._port

    async def start(self) -> None:
        """Listens, on the same port each time."""
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", self._port)

    async def die(self) -> None:
        """Acts like a killed process: resets connections and refuses new ones."""
        if self._listening is not None:
            listening, self._listening = self._listening, None
            await close_server(listening)
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()
        await asyncio.sleep(0)

    def fall_silent(self) -> None:
        """Accepts requests and holds the answers back."""
        self._speaks.clear()

    def speak(self) -> None:
        """Forwards the answers that were held back."""
        self._speaks.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ = [writer]
        self._open.add(writer)
        try:
            inner, outer = await asyncio.open_connection("127.0.0.1", self._to)
            open_.append(outer)
            self._open.add(outer)
            if self._listening is not None:  # it is still alive
                await asyncio.gather(self._ask(reader, outer), self._answer(inner, writer))
        except OSError:
            pass  # either side closed the connection
        finally:
            for each in open_:
                each.transport.abort()
            self._open.difference_update(open_)

    async def _ask(self, client: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        while piece := await client.read(65_536):
            self.requests += 1
            server.write(piece)
            await server.drain()
        server.close()

    async def _answer(self, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while piece := await server.read(65_536):
            await self._speaks.wait()
            client.write(piece)
            await client.drain()
        client.close()


@contextlib.asynccontextmanager
async def gates(*ports: int) -> AsyncIterator[list[Gate]]:
    """A gate to each of these ports."""
    made = [Gate(port) for port in ports]
    for gate in made:
        await gate.start()
    try:
        yield made
    finally:
        for gate in made:
            gate.speak()
            await gate.die()
