"""Failing Qdrant servers: the requests that are retried, and the error messages."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpc import StatusCode

from rag.errors import (
    BusyError,
    ConfigError,
    NotFoundError,
    RagError,
    StorageError,
    UpstreamError,
)
from rag.types import Scope
from retrieval.indexes import qdrant_server
from retrieval.indexes.qdrant import QdrantIndex
from retrieval.indexes.qdrant_server import Server, connect
from tests.fakes import dense_leg, make_chunk, make_points
from tests.ports import free_port
from tests.qdrant_corpus import (
    DIM,
)
from tests.qdrant_grpc import grpc_qdrant
from tests.qdrant_servers import NO_INDEXES

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop"), NO_INDEXES]


class Rest:
    """A server on a free port that gives a list of answers, then answers as Qdrant."""

    def __init__(self, *answers: tuple[int, Any] | None, version: str = "1.19.0") -> None:
        self.answers = list(answers)
        self.version = version
        self.asked: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split()[1]
        self.asked.append(path)
        answer: tuple[int, Any] | None = (200, {"result": {"count": 7}, "time": 0.0})
        if path == "/":
            answer = 200, {"title": "qdrant", "version": self.version}
        elif self.answers:
            answer = self.answers.pop(0)
        if answer is None:
            writer.close()  # in the middle of a request, as a server that is killed does
            return
        status, body = answer
        text = body if isinstance(body, str) else json.dumps(body)
        writer.write(
            f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode()
        )
        await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def answering(rest: Rest) -> AsyncIterator[Server]:
    listening = await asyncio.start_server(rest, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        made = connect(url, api_key=None, grpc_port=1, prefer_grpc=False, timeout=5)
        yield made
        await made.close()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qdrant_server, "FIRST_PAUSE", 0.001)


def said(error: str) -> dict[str, Any]:
    return {"status": {"error": error}, "time": 0.0}


@pytest.mark.parametrize(
    "failure",
    [None, (500, said("panicked")), (503, "no"), (429, said("slow down"))],
    ids=["cut off", "500", "503", "429"],
)
async def test_what_may_go_through_is_tried_again(failure: tuple[int, Any] | None) -> None:
    rest = Rest(failure, failure)
    async with answering(rest) as server:
        assert (await server.call(server.client.count, "docs")).count == 7
    assert rest.asked == ["/", *["/collections/docs/points/count"] * 3]


async def test_what_may_go_through_is_tried_again_over_grpc(scope: Scope) -> None:
    failures = StatusCode.UNAVAILABLE, StatusCode.INTERNAL
    async with grpc_qdrant(*failures) as server:
        index = QdrantIndex(server, dim=DIM)
        await index.upsert(scope, make_points([make_chunk("cat")]))
        assert await index.holds(scope)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (StatusCode.UNAVAILABLE, UpstreamError),
        (StatusCode.DEADLINE_EXCEEDED, UpstreamError),
        (StatusCode.RESOURCE_EXHAUSTED, BusyError),
        (StatusCode.UNAUTHENTICATED, ConfigError),
        (StatusCode.UNIMPLEMENTED, ConfigError),
        (StatusCode.INVALID_ARGUMENT, StorageError),
    ],
)
async def test_a_failure_over_grpc_has_its_kind(code: StatusCode, kind: type[RagError]) -> None:
    async with grpc_qdrant(*[code] * qdrant_server.ATTEMPTS) as server:
        with pytest.raises(kind) as caught:
            await server.call(server.client.count, "docs")
        assert type(caught.value) is kind
        assert "as the test says" in caught.value.detail


@pytest.mark.parametrize(
    ("answer", "kind", "message", "cause"),
    [
        ((500, said("panicked")), UpstreamError, r"failed\. Its log says more", "panicked."),
        (None, UpstreamError, r"cannot be reached\. Start it, or mend `index\.url`", "."),
        ((429, said("slow down")), BusyError, r"is at its limit\.", "slow down."),
        ((401, said("no key")), ConfigError, r"refuses the API key\. Mend `index.api_k", "no key."),
        ((404, "<html>"), ConfigError, r"is no Qdrant server\. Mend `index\.url`", "<html>."),
        ((200, "<html>"), ConfigError, r"is no Qdrant server", "."),
        ((404, said("Collection not there")), NotFoundError, r"does not hold it", "not there."),
        ((400, said("bad vector")), StorageError, r"refuses the request", "bad vector."),
        ((409, said("Collection already exists")), StorageError, r"has it already", "exists."),
        ((500, said("No space left")), StorageError, r"no disk space left.*Free some", "left."),
    ],
)
async def test_a_failure_says_what_mends_it(
    answer: tuple[int, Any] | None, kind: type[RagError], message: str, cause: str
) -> None:
    rest = Rest(*[answer] * qdrant_server.ATTEMPTS)
    async with answering(rest) as server:
        with pytest.raises(kind, match=message) as caught:
            await server.call(server.client.count, "docs")
        assert type(caught.value) is kind
        assert "127.0.0.1" not in str(caught.value)
        assert caught.value.detail.startswith("http://127.0.0.1:")
        assert caught.value.detail.endswith(cause)


async def test_a_server_that_does_not_answer_is_given_up_in_time() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listening = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        server = connect(url, api_key=None, grpc_port=1, prefer_grpc=False, timeout=0.05)
        with pytest.raises(UpstreamError, match=r"did not answer within 0\.05 s.*`index\.timeout`"):
            await server.call(server.client.count, "docs")
        await server.close()


@pytest.mark.parametrize("prefer_grpc", [True, False], ids=["grpc", "rest"])
async def test_a_server_that_is_not_there_is_named_with_what_to_do(
    scope: Scope, prefer_grpc: bool
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = connect(url, api_key=None, grpc_port=port, prefer_grpc=prefer_grpc, timeout=5)
    index = QdrantIndex(server, dim=DIM)
    with pytest.raises(UpstreamError) as caught:
        await index.search(scope, [dense_leg("cat")])
    assert "The Qdrant server cannot be reached. Start it, or mend `index.url`" in str(caught.value)
    assert caught.value.detail.startswith(f"{url}: ")
    await index.close()


async def test_a_server_that_does_not_say_which_version_is_searched_fails_nothing(
    scope: Scope,
) -> None:
    async with answering(Rest((403, {"status": {"error": "no global access"}}))) as server:
        assert await QdrantIndex(server, dim=DIM).version(scope) == ""


async def test_a_server_that_would_mix_tenants_statistics_is_refused() -> None:
    async with answering(Rest(version="1.18.3")) as server:
        with pytest.raises(ConfigError, match=r"version 1\.18\.3.*Update it to 1\.19 or later"):
            await server.call(server.client.count, "docs")
