"""A server whose connections another process accepts."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from rag.api.connections import BoundedProtocol
from rag.api.deps import Running
from rag.cli.handed_server import HandedServer
from rag.cli.server_processes import TAKES, hand
from tests.certificates import certificate_for_loopback
from tests.servers import PATIENCE


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        start = {"type": "http.response.start", "status": 200, "headers": []}
        await send(start)
        await send({"type": "http.response.body", "body": scope["client"][0].encode()})


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return certificate_for_loopback(tmp_path)


@pytest.fixture
def line(files: tuple[Path, Path]) -> Iterator[socket.socket]:
    """The other end of the line of a server with TLS, which has said that it takes connections."""
    ours, theirs = socket.socketpair()
    cert, key = files
    config = uvicorn.Config(
        app, http=BoundedProtocol, lifespan="off", ssl_certfile=cert, ssl_keyfile=key
    )
    server = HandedServer(config, running=Running(), seconds=1)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [theirs]})
    thread.start()
    with ours:
        ours.settimeout(PATIENCE)
        assert ours.recv(1) == TAKES
        yield ours
        server.should_exit = True
        thread.join(PATIENCE)


def test_connections_are_served_with_tls_and_after_one_without(
    line: socket.socket, files: tuple[Path, Path]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with socket.create_connection(listener.getsockname()) as plain:
            accept(listener, line)
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
            plain.settimeout(PATIENCE)
            assert not plain.recv(1)
        for _ in range(2):
            threading.Thread(target=accept, args=(listener, line)).start()
            trusting = ssl.create_default_context(cafile=str(files[0]))
            assert httpx.get(url, verify=trusting, timeout=PATIENCE).text == "127.0.0.1"


def test_a_line_that_is_full_is_an_error_and_does_not_wait() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    def fill() -> None:
        for _ in range(10_000):
            hand(ours, ours)

    with ours, theirs, pytest.raises(BlockingIOError):
        fill()


def test_a_line_whose_server_has_ended_is_an_error(files: tuple[Path, Path]) -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours, pytest.raises(OSError, match="Broken pipe"):
        hand(ours, ours)


def accept(listener: socket.socket, line: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        hand(line, connection)
