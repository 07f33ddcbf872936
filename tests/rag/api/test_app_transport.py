"""Calls of an app in this process, as a server would take them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from rag.api.app_transport import AppTransport

pytestmark = pytest.mark.anyio
START = {"type": "http.response.start", "status": 200, "headers": [(b"x-kind", b"test")]}


def client(app: ASGIApp) -> httpx.AsyncClient:
    transport = AppTransport(app, client=("host", 0))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


async def test_the_app_gets_the_request_as_it_was_sent() -> None:
    seen: Scope = {}
    body = b""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal body
        seen.update(scope)
        body = (await receive())["body"]
        await send(START)
        await send({"type": "http.response.body", "body": b"done"})

    async with client(app) as http:
        response = await http.post("/v1/x%2Fy?a=b%20c", content=b"sent", headers={"X-Key": "k"})
    assert (response.status_code, response.text, response.headers["x-kind"]) == (
        200,
        "done",
        "test",
    )
    assert (seen["method"], seen["path"], seen["raw_path"]) == ("POST", "/v1/x/y", b"/v1/x%2Fy")
    assert (seen["query_string"], body, seen["client"]) == (b"a=b%20c", b"sent", ("host", 0))
    assert (b"x-key", b"k") in seen["headers"]
    assert (b"host", b"localhost") in seen["headers"]


async def test_the_app_gets_a_long_request_part_by_part() -> None:
    got: list[tuple[bytes, bool]] = []

    async def parts() -> AsyncIterator[bytes]:
        for part in (b"one", b"two", b"three"):
            yield part

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        while not got or got[-1][1]:
            message = await receive()
            got.append((message["body"], message["more_body"]))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async with client(app) as http:
        await http.post("/", content=parts())
    assert got == [(b"one", True), (b"two", True), (b"three", False)]


async def test_a_request_names_its_own_address() -> None:
    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": scope["client"][0].encode()})

    async with client(app) as http:
        response = await http.get("/", extensions={"client": ("192.0.2.1", 80)})
    assert response.text == "192.0.2.1"


async def test_this_process_alone_adds_to_the_scope_of_a_request() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        seen.append(scope)
        await send(START)
        await send({"type": "http.response.body", "body": b""})

    async with client(app) as http:
        await http.get("/", extensions={"scope": {"principal": "anna"}})
        await http.get("/?principal=anna", headers={"principal": "anna", "scope": "principal"})
    assert seen[0]["principal"] == "anna"
    assert "principal" not in seen[1]


async def test_a_stream_is_read_as_it_is_written() -> None:
    going_on = asyncio.Event()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await going_on.wait()
        await send({"type": "http.response.body", "body": b"last"})

    async with client(app) as http, http.stream("GET", "/") as response:
        parts = response.aiter_raw()
        assert await anext(parts) == b"first"
        going_on.set()
        assert [part async for part in parts] == [b"last"]


async def test_an_app_writes_no_faster_than_it_is_read() -> None:
    written = 0
    ended = asyncio.Event()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        nonlocal written
        await send(START)
        for _ in range(100):
            await send({"type": "http.response.body", "body": b"part", "more_body": True})
            written += 1
        await send({"type": "http.response.body", "body": b""})
        ended.set()

    async with client(app) as http:
        async with http.stream("GET", "/") as response:
            parts = response.aiter_raw()
            await anext(parts)
            await asyncio.sleep(0)
            assert written < 5
            assert len([part async for part in parts]) == 99
        ended.clear()
        async with http.stream("GET", "/") as response:
            await anext(response.aiter_raw())
    await ended.wait()  # nobody reads the rest of the second one


async def test_the_app_learns_that_its_caller_hung_up() -> None:
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(START)
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        told.set_result((await receive())["type"])
        await send({"type": "http.response.body", "body": b"nobody reads it"})

    async with client(app) as http, http.stream("GET", "/") as response:
        await anext(response.aiter_raw())
    assert await told == "http.disconnect"


async def test_a_cancelled_call_hangs_up_too() -> None:
    begun = asyncio.Event()
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()
        begun.set()
        told.set_result((await receive())["type"])

    async with client(app) as http:
        call = asyncio.create_task(http.get("/"))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert await told == "http.disconnect"


async def test_an_app_that_answers_as_its_caller_is_cancelled_does_not_fail() -> None:
    reached, ready = asyncio.Event(), asyncio.Event()
    ended: list[str] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        reached.set()
        await ready.wait()
        await send(START)
        await send({"type": "http.response.body", "body": b"late"})
        ended.append("whole")

    async with client(app) as http:
        call = asyncio.create_task(http.get("/"))
        await reached.wait()
        ready.set()  # the app goes on before the call sees that it is cancelled
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert ended == ["whole"]


async def test_an_app_that_answers_and_then_fails_has_answered() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"a problem"})
        raise ValueError("it is in the log")

    async with client(app) as http:
        response = await http.get("/")
    assert (response.status_code, response.text) == (500, "a problem")


async def test_an_app_without_a_response_is_a_broken_connection() -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ValueError("early")

    async with client(app) as http:
        with pytest.raises(httpx.RemoteProtocolError, match="without a whole response"):
            await http.get("/")


async def test_a_response_that_breaks_off_is_no_whole_one() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError("amid the response")

    async with client(app) as http:
        with pytest.raises(httpx.RemoteProtocolError, match="without a whole response"):
            await http.get("/")
