"""Requests to an app in this process: responses come as they are written."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from rag.cli.streaming_transport import StreamingTransport

pytestmark = pytest.mark.anyio


class App:
    """An app that writes a piece, then waits until it may go on or the reader leaves."""

    def __init__(self) -> None:
        self.may_go_on = asyncio.Event()
        self.received = b""
        self.has_left = False
        self.was_cancelled = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "http.request":
            self.received += message["body"]
            if not message["more_body"]:
                break
        if scope["path"] == "/fails":
            raise RuntimeError("on purpose")
        if scope["path"] == "/hangs":
            try:
                await asyncio.Event().wait()
            finally:
                self.was_cancelled = True
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"b")]})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        if scope["path"] == "/breaks":
            raise RuntimeError("on purpose")
        going = asyncio.create_task(self.may_go_on.wait())
        leaving = asyncio.ensure_future(receive())
        await asyncio.wait((going, leaving), return_when=asyncio.FIRST_COMPLETED)
        self.has_left = leaving.done() and leaving.result()["type"] == "http.disconnect"
        for task in (going, leaving):
            task.cancel()
        await send({"type": "http.response.body", "body": b"second"})


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def http(app: App) -> httpx.AsyncClient:
    transport = StreamingTransport(app, client=("here", 0))
    return httpx.AsyncClient(transport=transport, base_url="http://rag.local")


async def test_the_first_piece_comes_before_the_second_is_written(
    app: App, http: httpx.AsyncClient
) -> None:
    async with http.stream("POST", "/", content=b"asked") as response:
        assert (response.status_code, response.headers["x-a"]) == (200, "b")
        pieces = response.aiter_bytes()
        assert await anext(pieces) == b"first"
        app.may_go_on.set()
        assert [piece async for piece in pieces] == [b"second"]
    assert app.received == b"asked"
    assert not app.has_left


async def test_an_app_is_told_that_the_reader_left(app: App, http: httpx.AsyncClient) -> None:
    async with http.stream("GET", "/") as response:
        assert response.status_code == 200
    assert app.has_left


async def test_a_whole_response_is_read_at_once(app: App, http: httpx.AsyncClient) -> None:
    app.may_go_on.set()
    assert (await http.get("/")).content == b"firstsecond"


async def test_an_exception_is_a_response_or_the_end_of_one(http: httpx.AsyncClient) -> None:
    assert (await http.get("/fails")).status_code == 500
    assert (await http.get("/breaks")).content == b"first"


async def test_who_stops_waiting_cancels_the_work(app: App, http: httpx.AsyncClient) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await http.get("/hangs")
    await asyncio.sleep(0)
    assert app.was_cancelled
