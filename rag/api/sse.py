"""Server-sent events, https://html.spec.whatwg.org/multipage/server-sent-events.html."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from pydantic_core import to_json

HEARTBEAT_SECONDS = 10.0
"""Proxies drop connections that are silent for a minute or less."""
_COMMENT = b": heartbeat\n\n"


def event(name: str, data: Any) -> bytes:
    """One named event; JSON has no line breaks of its own."""
    return b"event: " + name.encode() + b"\ndata: " + to_json(data) + b"\n\n"


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
