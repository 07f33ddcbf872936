"""Requests to an ASGI app in this process, whose responses are passed on as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import httpx
from starlette.types import ASGIApp

Message = MutableMapping[str, Any]
INTERNAL_ERROR = 500


class StreamingTransport(httpx.AsyncBaseTransport):
    """Sends requests to an app; httpx' own transport passes a response on only when it is whole.

    An exception of the app becomes a response, as a server answers, or the end of one.
    """

    def __init__(self, app: ASGIApp, *, client: tuple[str, int]) -> None:
        self._app = app
        self._client = client

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Returns the response once it has begun."""
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "scheme": request.url.scheme,
            "path": request.url.path,
            "raw_path": request.url.raw_path.partition(b"?")[0],
            "query_string": request.url.query,
            "server": (request.url.host, request.url.port),
            "client": self._client,
            "root_path": "",
        }
        exchange = _Exchange(request)
        working = asyncio.create_task(exchange.run(self._app, scope))
        try:
            status, headers = await exchange.begun
        except asyncio.CancelledError:
            working.cancel()
            raise
        return httpx.Response(status, headers=headers, stream=_Body(exchange, working))


class _Exchange:
    """A request and its response, as the app sees them."""

    def __init__(self, request: httpx.Request) -> None:
        assert isinstance(request.stream, httpx.AsyncByteStream)  # noqa: S101 - of an AsyncClient
        self._sent = aiter(request.stream)
        self._is_sent = False
        self.begun: asyncio.Future[tuple[int, list[tuple[bytes, bytes]]]] = asyncio.Future()
        self.pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        """The pieces of the body; None is its end."""
        self.closed = asyncio.Event()
        """Set once nobody reads the response any longer."""

    async def run(self, app: ASGIApp, scope: Message) -> None:
        """Runs the app to its end."""
        try:
            await app(scope, self.receive, self.send)
        except Exception:  # noqa: BLE001 - the app has logged it
            if not self.begun.done():
                self.begun.set_result((INTERNAL_ERROR, []))
        finally:
            self.pieces.put_nowait(None)

    async def receive(self) -> Message:
        """Returns the next piece of the request, then waits until the reader leaves."""
        if self._is_sent:
            await self.closed.wait()
            return {"type": "http.disconnect"}
        piece = await anext(self._sent, None)
        self._is_sent = piece is None
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    async def send(self, message: Message) -> None:
        """Takes the next part of the response."""
        if message["type"] == "http.response.start":
            if not self.begun.done():  # cancelled by a caller who left
                self.begun.set_result((message["status"], list(message.get("headers", []))))
        elif body := message.get("body", b""):
            self.pieces.put_nowait(body)


class _Body(httpx.AsyncByteStream):
    def __init__(self, exchange: _Exchange, working: asyncio.Task[None]) -> None:
        self._exchange = exchange
        self._working = working

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (piece := await self._exchange.pieces.get()) is not None:
            yield piece

    async def aclose(self) -> None:
        """Tells the app that the reader has left, and waits for its end."""
        self._exchange.closed.set()
        await asyncio.wait({self._working})
