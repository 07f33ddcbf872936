"""Calls an ASGI app in this process as httpx calls a server: responses are read as written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
from starlette.types import ASGIApp, Message, Scope


class AppTransport(httpx.AsyncBaseTransport):
    """A transport to an app. An exception of the app is for the app to answer and to log.

    `httpx.ASGITransport` returns a response once it has ended: a stream would come all at once. The
    extension `scope` of a request is added to its ASGI scope, which no header of a client can do.
    """

    def __init__(self, app: ASGIApp, *, client: tuple[str, int] | None = None) -> None:
        """Takes the address of callers; the extension `client` of a request goes before it."""
        self._app = app
        self._client = client
        self._running: set[asyncio.Task[None]] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Returns the response once its head is written; whoever closes it early hangs up.

        Raises:
            httpx.RemoteProtocolError: The app ended without a response.
        """
        call = _Call(request)
        scope = _scope_of(request, request.extensions.get("client", self._client))
        scope |= request.extensions.get("scope", {})
        task = asyncio.create_task(self._run(call, scope))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            head = await call.head
        except asyncio.CancelledError:
            call.hang_up()
            raise
        return httpx.Response(
            head["status"], headers=head.get("headers", []), stream=_Body(call, task)
        )

    async def _run(self, call: _Call, scope: Scope) -> None:
        try:
            await self._app(scope, call.receive, call.send)
        except Exception as error:  # noqa: BLE001 - the app has logged it, and answered if it could
            await call.end(error)
        else:
            await call.end(None)


class _Call:
    """One request and its response, between the app and its caller."""

    def __init__(self, request: httpx.Request) -> None:
        self.head: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self.parts: asyncio.Queue[bytes | httpx.RemoteProtocolError | None] = asyncio.Queue(1)
        """Parts of the body, one at a time, and at its end None, or the error that cut it off."""
        assert isinstance(request.stream, httpx.AsyncByteStream)  # noqa: S101 - of an AsyncClient
        self._sent = aiter(request.stream)
        self._next: bytes | None = None
        self._is_sent = False
        self._complete = False
        self._hung_up = asyncio.Event()

    async def receive(self) -> Message:
        """Returns the next part of the body, and after it the end of the connection."""
        if self._is_sent:
            await self._hung_up.wait()
            return {"type": "http.disconnect"}
        part = await anext(self._sent, b"") if self._next is None else self._next
        self._next = await anext(self._sent, None)  # ahead: a part tells if it is the last
        self._is_sent = self._next is None
        return {"type": "http.request", "body": part, "more_body": not self._is_sent}

    async def send(self, message: Message) -> None:
        """Takes a part of the response; nobody reads it after the caller has hung up."""
        if self._is_abandoned:
            return
        if message["type"] == "http.response.start":
            self.head.set_result(message)
        elif message["type"] == "http.response.body":
            if part := message.get("body", b""):
                await self.parts.put(part)
            if not message.get("more_body", False):
                self._complete = True
                await self.parts.put(None)

    async def end(self, error: Exception | None) -> None:
        """Breaks the response off if the app left it incomplete."""
        if self._complete or self._is_abandoned:
            return
        told = httpx.RemoteProtocolError("The app ended without a whole response.")
        told.__cause__ = error
        if not self.head.done():
            self.head.set_exception(told)
        await self.parts.put(told)

    @property
    def _is_abandoned(self) -> bool:
        """True if the caller is gone. One that is cancelled hangs up a moment later."""
        return self._hung_up.is_set() or self.head.cancelled()

    def hang_up(self) -> None:
        """Tells the app that its caller is gone; as on a server, it ends by itself."""
        self._hung_up.set()
        self.head.cancel()
        while not self.parts.empty():  # the app may wait for room
            self.parts.get_nowait()


class _Body(httpx.AsyncByteStream):
    """The body of a response, part by part."""

    def __init__(self, call: _Call, running: asyncio.Task[None]) -> None:
        self._call = call
        self._running = running

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (part := await self._call.parts.get()) is not None:
            if isinstance(part, httpx.RemoteProtocolError):
                raise part
            yield part

    async def aclose(self) -> None:
        """Hangs up, and waits for the end of the app: it may hold what the caller closes next."""
        self._call.hang_up()
        await asyncio.wait({self._running})


def _scope_of(request: httpx.Request, client: tuple[str, int] | None) -> Scope:
    url = request.url
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": url.scheme,
        "path": url.path,
        "raw_path": url.raw_path.split(b"?")[0],
        "query_string": url.query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": client,
        "server": (url.host, url.port or 80),
    }
