"""Server-sent events, https://html.spec.whatwg.org/multipage/server-sent-events.html."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

HEARTBEAT_SECONDS = 10.0
"""Proxies drop connections that are silent for a minute or less."""
_closing: set[asyncio.Future[None]] = set()
_FIELDS = {"event": {"type": "string"}, "data": {"type": "string"}}
DOCUMENTED: dict[str, Any] = {
    "description": "The answer; with `stream`, as server-sent events.",
    "content": {"text/event-stream": {"schema": {"type": "object", "properties": _FIELDS}}},
}
"""Of a response that may be a stream, for the OpenAPI document."""
_COMMENT = b": heartbeat\n\n"


def event(name: str, item: Any) -> bytes:
    """One named event; JSON has no line breaks of its own."""
    return b"event: " + name.encode() + b"\n" + data(item)


def data(item: Any) -> bytes:
    """One event without a name."""
    return b"data: " + to_json(item) + b"\n\n"


def response(events: AsyncGenerator[bytes, None]) -> Response:
    """The events, as they come; they are closed with the response."""
    return _Stream(with_heartbeats(events))


class _Stream(StreamingResponse):
    """Closes what it streams, however it ends: Starlette leaves that to the garbage collector."""

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(
            events, media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with contextlib.aclosing(self._events):
            await super().__call__(scope, receive, send)


async def with_heartbeats(
    events: AsyncGenerator[bytes, None], *, seconds: float = HEARTBEAT_SECONDS
) -> AsyncGenerator[bytes, None]:
    """The events, with a comment whenever none came for `seconds`; closes them at the end."""
    upcoming = asyncio.ensure_future(anext(events, None))
    try:
        while True:
            done, _ = await asyncio.wait({upcoming}, timeout=seconds)
            if not done:
                yield _COMMENT
            elif (item := upcoming.result()) is None:
                return
            else:
                yield item
                upcoming = asyncio.ensure_future(anext(events, None))
    finally:
        upcoming.cancel()
        upcoming.add_done_callback(lambda _: _close(events))


def _close(events: AsyncGenerator[bytes, None]) -> None:
    """In a task of its own: who was cancelled may not wait any more."""
    closing = asyncio.ensure_future(events.aclose())
    _closing.add(closing)
    closing.add_done_callback(_closing.discard)
