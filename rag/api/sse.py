"""Server-sent events, https://html.spec.whatwg.org/multipage/server-sent-events.html."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response, StreamingResponse

HEARTBEAT_SECONDS = 10.0
"""Proxies drop connections that are silent for a minute or less."""
_COMMENT = b": heartbeat\n\n"


def event(name: str, item: Any) -> bytes:
    """One named event; JSON has no line breaks of its own."""
    return b"event: " + name.encode() + b"\n" + data(item)


def data(item: Any) -> bytes:
    """One event without a name."""
    return b"data: " + to_json(item) + b"\n\n"


def response(events: AsyncIterator[bytes]) -> Response:
    """The events, as they come."""
    return StreamingResponse(
        with_heartbeats(events),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store"},
    )


async def with_heartbeats(
    events: AsyncIterator[bytes], *, seconds: float = HEARTBEAT_SECONDS
) -> AsyncIterator[bytes]:
    """The events, with a comment whenever none came for `seconds`."""
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
