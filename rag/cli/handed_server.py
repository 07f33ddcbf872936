"""A server that is handed its connections by another process, which accepts them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from functools import partial

from rag.api.connections import BoundedProtocol
from rag.cli.draining_server import DrainingServer
from rag.cli.server_processes import TAKES

_log = logging.getLogger(__name__)


class HandedServer(DrainingServer):
    """Serves the connections that arrive on a line, in the place of a listener."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Opens the app, then takes connections.

        Args:
            sockets: the line.
        """
        await super().startup(sockets=[])
        self._opening: set[asyncio.Task[None]] = set()
        for line in sockets or ():
            line.setblocking(False)
            asyncio.get_running_loop().add_reader(line, self._take, line)
            line.send(TAKES)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes no more connections, and ends those that it has."""
        for line in sockets or ():
            asyncio.get_running_loop().remove_reader(line)
        await super().shutdown(sockets)

    def _take(self, line: socket.socket) -> None:
        """Takes one connection; the loop calls it again while there are more."""
        try:
            data, descriptors, _, _ = socket.recv_fds(line, 1, 1)
        except OSError:
            data, descriptors = b"", []
        if not data:  # the other process has ended
            asyncio.get_running_loop().remove_reader(line)
        elif not descriptors:  # the kernel has closed the connection
            _log.error("A connection was closed: this process may open no more files.")
        for descriptor in descriptors:
            task = asyncio.get_running_loop().create_task(self._open(descriptor))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, descriptor: int) -> None:
        make = partial(
            BoundedProtocol,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        connection = socket.socket(fileno=descriptor)
        with contextlib.suppress(OSError):  # the client has gone, or its TLS is wrong
            await asyncio.get_running_loop().connect_accepted_socket(
                make, connection, ssl=self.config.ssl
            )
