"""Decodes server-sent events of OpenAI's API, in every form that the standard allows.

The openai client makes an event of every block of lines once a server has numbered one, even of
blocks that hold a comment, a `ping` or a `retry:` alone, and cannot read it as JSON
(https://html.spec.whatwg.org/multipage/server-sent-events.html).
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import openai
from openai._streaming import ServerSentEvent, SSEDecoder

MAX_EVENT = 4 << 20
"""Bytes of one event, at most: far more than a piece of an answer has."""


class EventClient(openai.AsyncOpenAI):
    """The client, with `EventDecoder` for streams."""

    def _make_sse_decoder(self) -> SSEDecoder:
        return EventDecoder()


class EventDecoder(SSEDecoder):
    """Returns events that hold data; errors get the form that the client raises as `APIError`."""

    def __init__(self) -> None:
        super().__init__()
        self._size = 0
        self._began = False

    async def aiter_bytes(self, iterator: AsyncIterator[bytes]) -> AsyncGenerator[ServerSentEvent]:
        """Yields the events of a stream.

        Raises:
            ValueError: It is no UTF-8, or an event has more than `MAX_EVENT` bytes.
        """
        events: Any = super().aiter_bytes(_bounded(iterator))
        async with aclosing(events):
            async for event in events:
                yield event

    def decode(self, line: str) -> ServerSentEvent | None:
        """Returns the event that a line ends, if it ends one with data in it."""
        if not self._began:
            self._began, line = True, line.removeprefix("\ufeff")
        self._size = self._size + len(line) if line else 0
        if self._size > MAX_EVENT:
            raise ValueError(f"an event has more than {MAX_EVENT} characters")
        event = super().decode(line)
        if event is None or not event.data.strip():
            return None
        if event.event == "error" or '"error"' in event.data:
            return ServerSentEvent(data=_as_error(event))
        return event


async def _bounded(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yields the same bytes; raises ValueError if a line is too long."""
    size = 0
    async for chunk in chunks:
        last = max(chunk.rfind(b"\n"), chunk.rfind(b"\r"))
        size = size + len(chunk) if last < 0 else len(chunk) - last - 1
        if size > MAX_EVENT:
            raise ValueError(f"a line has more than {MAX_EVENT} bytes")
        yield chunk


def _as_error(event: ServerSentEvent) -> str:
    """Returns an event's data; if it reports an error, as {"error": {"message": …}}.

    Servers send that, or a text in place of the object, or the object alone, marked by its
    `"object": "error"` or by `event: error`; the last may have any text.
    """
    try:
        content = json.loads(event.data)
    except ValueError:
        if event.event != "error":
            raise
        content = event.data
    named = content if isinstance(content, dict) else {}
    is_error = event.event == "error" or named.get("object") == "error"
    error = named.get("error") or (content if is_error else None)
    if error is None:
        return event.data
    if not (isinstance(error, dict) and isinstance(error.get("message"), str)):
        error = {"message": error if isinstance(error, str) else json.dumps(error)}
    return json.dumps({"error": error})
