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
"""Seconds between heartbeats: proxies drop connections that are silent for a minute or less."""
_closing: set[asyncio.Future[None]] = set()
_FIELDS = {"event": {"type": "string"}, "data": {"type": "string"}}
DOCUMENTED: dict[str, Any] = {
    "description": "The answer; with `stream`, as server-sent events.",
    "content": {"text/event-stream": {"schema": {"type": "object", "properties": _FIELDS}}},
}
"""The OpenAPI entry of a response that may be a stream."""
_COMMENT = b": heartbeat\n\n"


def event(name: str, item: Any) -> bytes:
    """Returns one named event; its JSON contains no line breaks."""
    return b"event: " + name.encode() + b"\n" + data(item)


def data(item: Any) -> bytes:
    """Returns one event without a name."""
    return b"data: " + to_json(item) + b"\n\n"


def response(events: AsyncGenerator[bytes, None]) -> Response:
    """Returns a response that sends the events as they come, and closes them at its end."""
    return _Stream(with_heartbeats(events))


class _Stream(StreamingResponse):
    """Closes the events however the response ends: Starlette leaves it to the garbage collector."""

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
    """Yields the events, and a comment whenever none came for `seconds`; closes them at the end."""
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
    """Closes the events in a separate task: a cancelled task may not wait for it."""
    closing = asyncio.ensure_future(events.aclose())
    _closing.add(closing)
    closing.add_done_callback(_closing.discard)
