"""Middleware that handles every request before its route. Plain ASGI: no task, no copy."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable
from typing import Any, TypeVar
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag.api import problems
from rag.api.deps import state_of
from rag.build.ingest import Ingesting
from rag.errors import RagError, TooLargeError
from rag.settings.operations import BatchSettings, LimitSettings
from rag.telemetry import logs, metrics
from rag.telemetry.trace import Trace
from rag.types import Principal

R = TypeVar("R")


class ClientGoneError(Exception):
    """The client hung up: nobody is left to answer."""


class _UnreadError(Exception):
    """The client does not read."""


_log = logging.getLogger(__name__)
UNREAD_SECONDS = 30.0
"""Seconds that a client may leave sent data unread."""
JSON_BYTES = 1 << 20
"""Most bytes of a body that holds no documents: questions are short."""
_SEND_FEWER = " Send fewer documents at once, or raise the setting limits.upload_mb."
_SPLIT = " Split the file, or raise the setting batches.file_mb."
_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


class RequestId:
    """Takes the caller's `X-Request-ID` or makes one, and sends it back."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
        scope["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        await self._app(scope, receive, send_with_id)


class Measured:
    """Counts, times and logs requests by their route; with `questions`, logs questions as well."""

    def __init__(self, app: ASGIApp, *, questions: bool = False) -> None:
        self._app = app
        self._questions = questions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), problems.CRASHED

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except Exception:
            scope["problem"] = RagError.code  # an outer layer answers it
            raise
        finally:
            line = _note(scope, status, time.perf_counter() - started)
            if self._questions:
                line |= await _question(scope)
            logs.request(**line)


def _note(scope: Scope, status: int, seconds: float) -> dict[str, Any]:
    """Counts one request that has ended, and returns its log entry."""
    method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
    route = getattr(scope.get("route"), "path", "none")
    error = scope.get("problem", "")
    metrics.request(method, route, status, error, seconds)
    trace: Trace | None = scope.get("trace")
    caller: Principal | None = scope.get("principal")
    journey = (
        {}
        if trace is None
        else {
            "trace_id": trace.id,
            "outcome": trace.outcome,
            "stages": trace.timings,
            "degraded": [omission.partition(":")[0] for omission in trace.degraded],
            "input_tokens": trace.usage.input_tokens,
            "output_tokens": trace.usage.output_tokens,
        }
    )
    return {
        "request_id": scope.get("request_id", ""),
        "tenant": "" if caller is None else caller.tenant,
        "method": method,
        "route": route,
        "status": status,
        "error": error,
        "ms": round(seconds * 1e3, 3),
        **journey,
    }


async def _question(scope: Scope) -> dict[str, str]:
    """Returns the question as far as it may be kept; in a thread, since masking may run a model."""
    trace: Trace | None = scope.get("trace")
    opened = state_of(Request(scope)).opened
    if trace is None or trace.root.name != "query" or not isinstance(opened, Ingesting):
        return {}
    mask = opened.observer.privacy.content
    allowed = await asyncio.to_thread(mask, trace.root.input, trace.tenant)
    return {} if allowed is None else {"question": allowed}


class BodyLimit:
    """Refuses bodies over the limit, by their declared length or by the bytes received."""

    def __init__(self, app: ASGIApp, *, limits: LimitSettings, batches: BatchSettings) -> None:
        self._app = app
        self._bounds = {
            "/v1/documents": (limits.upload_mb << 20, _SEND_FEWER),
            # Beside the file, a form has its fields and the lines between them.
            "/v1/files": ((batches.file_mb << 20) + JSON_BYTES, _SPLIT),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit, hint = self._bounds.get(scope["path"], (JSON_BYTES, ""))
        error = TooLargeError(f"The body is over {limit >> 20} MiB.{hint}")
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdigit() and int(declared) > limit:
            body = problems.problem_json(error, scope.get("request_id", ""))
            await problems.response(scope, body)(scope, receive, send)
            return
        seen = 0

        async def receive_bounded() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise error
            return message

        await self._app(scope, receive_bounded, send)


class SlowClients:
    """Disconnects clients that do not read: their responses would be held in memory for ever."""

    def __init__(self, app: ASGIApp, *, seconds: float = UNREAD_SECONDS) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""

        async def send_in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(self._seconds):
                    await send(message)
            except TimeoutError:
                raise _UnreadError from None

        try:
            await self._app(scope, receive, send_in_time)
        # A group: the SDK of MCP sends in a task group. The server closes an incomplete response.
        except* _UnreadError:
            client = (scope.get("client") or ["unknown"])[0]
            _log.warning("The client %s read nothing for %g s.", client, self._seconds)


async def until_hangup(request: Request, work: Awaitable[R]) -> R:
    """Returns the result of `work`, which is cancelled if the client hangs up meanwhile.

    Raises:
        ClientGoneError: The client hung up.
    """
    task = asyncio.ensure_future(work)
    hangup = asyncio.ensure_future(_hangup(request))
    try:
        await asyncio.wait({task, hangup}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
        return task.result()
    finally:
        task.cancel()
        hangup.cancel()


async def _hangup(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
