"""A real server, with clients that send incomplete requests and with too many clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from rag.api import connections
from rag.api.connections import BoundedProtocol
from tests.pressure import replied
from tests.rag.api.test_middleware import served
from tests.servers import wait_for

QUICK = 0.4
"""Seconds of a limit in these tests."""


class Echo:
    """Answers with as many bytes as it received; reads a piece every `pause` seconds."""

    def __init__(self) -> None:
        self.pause = 0.0
        self.hung_up = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = 0
        try:
            async for part in Request(scope, receive).stream():
                size += len(part)
                await asyncio.sleep(self.pause)
        except ClientDisconnect:
            self.hung_up = True
            return
        body = str(size).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def port(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(connections, "HEAD_SECONDS", QUICK)
    monkeypatch.setattr(connections, "BODY_SECONDS", QUICK)
    monkeypatch.setattr(connections, "LINGER_SECONDS", QUICK)
    monkeypatch.setattr(connections, "_warned", {})
    with served(echo, http=BoundedProtocol) as made:
        yield made


@contextlib.contextmanager
def client(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as made:
        yield made


def problem(reply: bytes) -> tuple[int, str, dict[bytes, bytes]]:
    """Returns the status, code and headers of a complete reply."""
    head, _, body = reply.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in lines)
    assert int(headers[b"content-length"]) == len(body)
    assert headers[b"connection"] == b"close"
    content: Any = json.loads(body)
    return int(status.split()[1]), content.get("code") or content["error"]["code"], headers


HEAD = b"POST /v1/query HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"


@pytest.mark.parametrize("sent", [b"", b"P", b"POST / HTTP/1.1", HEAD])
def test_half_a_head_ends(port: int, sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with client(port) as half, client(port) as other:
        half.sendall(sent)
        other.sendall(sent)
        status, code, headers = problem(replied(half))
        assert problem(replied(other))[0] == 408
    assert (status, code) == (408, "request_timeout")
    assert headers[b"content-type"] == b"application/problem+json"
    assert caplog.text.count("half a request") == 1


def test_a_head_that_drips_ends(port: int) -> None:
    started = time.monotonic()
    with client(port) as half, contextlib.suppress(ConnectionError):
        half.settimeout(0.05)
        reply = b""
        half.sendall(b"GET / HTTP/1.1\r\n")
        while time.monotonic() < started + 20 and not reply:
            half.sendall(b"x: y\r\n")
            with contextlib.suppress(TimeoutError):
                reply = half.recv(10_000)
        assert reply.startswith(b"HTTP/1.1 408 ")


def test_half_a_body_ends(port: int, echo: Echo) -> None:
    with client(port) as half:
        half.sendall(HEAD + b"\r\n" + b"x" * 1000)
        assert problem(replied(half))[:2] == (408, "request_timeout")
    wait_for(lambda: echo.hung_up)


def test_openai_clients_read_it_too(port: int) -> None:
    with client(port) as half:
        half.sendall(HEAD.replace(b"query", b"chat/completions") + b"\r\n")
        assert problem(replied(half))[:2] == (408, "request_timeout")


def test_a_body_that_drips_ends(port: int, echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BODY_RATE", 10_000)
    with client(port) as half:
        half.sendall(HEAD + b"\r\n")
        half.settimeout(0.05)
        reply = b""
        for _ in range(200):
            half.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                if reply := half.recv(10_000):
                    break
    assert reply.startswith(b"HTTP/1.1 408 ")


def test_a_slow_and_honest_upload_passes(port: int) -> None:
    with client(port) as slow:
        slow.sendall(HEAD + b"Connection: close\r\n\r\n")
        for _ in range(20):  # five times the longest allowed silence
            slow.sendall(b"x" * 5000)
            time.sleep(0.1)
        assert replied(slow).endswith(b"\r\n\r\n100000")


def test_a_server_that_reads_slowly_blames_itself(port: int, echo: Echo) -> None:
    echo.pause = 3 * QUICK
    size = 500_000  # several times uvicorn's buffer for an app
    with client(port) as sender:
        sender.settimeout(60)
        head = HEAD.replace(b"100000", str(size).encode())
        sender.sendall(head + b"Connection: close\r\n\r\n" + b"x" * size)
        assert replied(sender).endswith(str(size).encode())


def test_one_request_after_another_is_timed_anew(port: int) -> None:
    with client(port) as patient:
        for _ in range(5):
            time.sleep(QUICK / 2)
            patient.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            reply = b""
            while not reply.endswith(b"\r\n\r\n0"):
                reply += patient.recv(10_000)
        patient.sendall(b"GET")
        assert problem(replied(patient))[0] == 408


def test_a_head_without_an_end_is_refused(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 60.0)
    with client(port) as endless, contextlib.suppress(ConnectionError):
        endless.sendall(b"GET / HTTP/1.1\r\nx: ")
        for _ in range(40):
            endless.sendall(b"y" * 4000)
        assert problem(replied(endless))[:2] == (431, "headers_too_large")


def test_the_last_descriptors_are_left_to_others(
    port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    monkeypatch.setattr(connections, "RESERVE", 60)
    monkeypatch.setattr(connections, "HEAD_SECONDS", 60.0)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 100, before[1]))
    try:
        with contextlib.ExitStack() as stack:
            held = stack.enter_context(client(port))
            while not select.select([held], [], [], 0.02)[0]:  # it is served: one more
                held = stack.enter_context(client(port))
            status, code, headers = problem(replied(held))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert (status, code) == (503, "too_many_connections")
    assert headers[b"retry-after"]
    assert caplog.text.count("too many connections") == 1
    with client(port) as later:
        later.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert replied(later).startswith(b"HTTP/1.1 200 ")
