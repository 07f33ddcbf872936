"""A real server and a client that sends a request and does not read the answer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Literal

import pytest
import uvicorn
from prometheus_client import REGISTRY
from starlette.types import ASGIApp, Receive, Scope, Send

from rag.api.middleware import Measured, SlowClients
from tests.servers import wait_for

PIECE = b"x" * 65_536


class Large:
    """An app that sends this number of pieces."""

    def __init__(self, pieces: int) -> None:
        self._pieces = pieces
        self.sent = 0
        self.ended = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while self.sent < self._pieces:
                await send({"type": "http.response.body", "body": PIECE, "more_body": True})
                self.sent += 1
            await send({"type": "http.response.body", "body": b""})
        finally:
            self.ended.set()


@contextlib.contextmanager
def served(
    app: ASGIApp, *, http: type[asyncio.Protocol] | Literal["auto"] = "auto"
) -> Iterator[int]:
    """Serves the app on a real server; yields its port."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=http, lifespan="off", log_config=None, loop="asyncio")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def test_a_client_that_does_not_read_is_hung_up_on(caplog: pytest.LogCaptureFixture) -> None:
    app = Large(100_000)
    with (
        served(SlowClients(app, seconds=0.3)) as port,
        socket.create_connection(("127.0.0.1", port)) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert app.ended.wait(20)
        assert 0 < app.sent < 10_000
        wait_for(lambda: "read nothing for 0.3 s" in caplog.text)


def test_a_client_that_reads_slowly_gets_all_of_it(caplog: pytest.LogCaptureFixture) -> None:
    app = Large(200)
    with (
        served(SlowClients(app, seconds=5)) as port,
        socket.create_connection(("127.0.0.1", port)) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        seen = 0
        while part := client.recv(1 << 18):
            seen += part.count(b"x")
            time.sleep(0.001)
    assert seen >= 200 * len(PIECE)
    assert "read nothing" not in caplog.text


async def _crash(scope: Scope, receive: Receive, send: Send) -> None:
    raise ZeroDivisionError


def test_a_crash_is_counted_with_its_code() -> None:
    with served(Measured(_crash)) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 500 " in client.recv(1000)
    labels = {
        "http_request_method": "_OTHER",
        "http_route": "none",
        "http_response_status_code": "500",
        "error_type": "internal",
    }
    assert REGISTRY.get_sample_value("http_server_request_duration_seconds_count", labels) == 1
