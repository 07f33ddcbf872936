"""Connections to the addresses that were checked, and to no others."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from ipaddress import ip_address

import httpcore

from ingest.sources.addresses import Address
from rag.errors import ReadError
from rag.privacy.redaction import words

CONNECT_SECONDS = 10.0
"""Seconds for one address: if a host has several, the next one is tried."""


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Looks a name up once and connects to the addresses that it checked.

    A second look-up could return others (DNS rebinding). TLS and the Host header keep the name.
    """

    def __init__(self, allows: Callable[[Address], bool], *, setting: str) -> None:
        """Makes a network of the addresses that `allows` accepts; `setting` would allow others."""
        self._allows = allows
        self._setting = setting
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connects to one of the host's addresses, all of which are allowed."""
        addresses = await _look_up(host, port)
        if not all(map(self._allows, addresses)):
            raise ReadError(
                f"{host}: its address is not on the public internet, so it is not connected to:"
                " it may be meant for this machine or network alone. Where that is wanted, set"
                f" {self._setting} = true.",
                code="private_address",
            )
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                return await self._network.connect_tcp(
                    str(address), port, CONNECT_SECONDS, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


async def _look_up(host: str, port: int) -> list[Address]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # no such name, or an invalid one
        raise httpcore.ConnectError(f"{host} is not found: {words(error)}") from error
    return [ip_address(entry[4][0]) for entry in found]
