"""The events of a streamed answer.

They come as server-sent events, https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, Generator, Iterator
from typing import Annotated, Literal

import httpx
from pydantic import Field

from .errors import (
    UnexpectedAnswerError,
    UnreachableError,
    problem_error,
    unexpected,
    unreachable,
)
from .responses import Answer, Citation, Hit, Objection, Response


class HitsEvent(Response):
    """The hits, before the first word."""

    type: Literal["hits"] = "hits"
    hits: list[Hit]


class TokenEvent(Response):
    """The next piece of the answer."""

    type: Literal["token"] = "token"
    text: str


class CitationEvent(Citation):
    """A citation, checked, after its marker was sent."""

    type: Literal["citation"] = "citation"


class RetractEvent(Response):
    """Characters `start` to `end` of the answer, sent before, that the passages do not support."""

    type: Literal["retract"] = "retract"
    start: int
    end: int
    objection: Objection


class AnswerEvent(Answer):
    """The whole answer: the last event."""

    type: Literal["answer"] = "answer"


Event = Annotated[
    HitsEvent | TokenEvent | CitationEvent | RetractEvent | AnswerEvent,
    Field(discriminator="type"),
]
"""An event of a stream. A failure is no event: it is raised, as it is without a stream."""
_EVENTS: dict[str, type[HitsEvent | TokenEvent | CitationEvent | RetractEvent | AnswerEvent]] = {
    "hits": HitsEvent,
    "token": TokenEvent,
    "citation": CitationEvent,
    "retract": RetractEvent,
    "answer": AnswerEvent,
}


class EventReader:
    """Turns the bytes of a stream into events, wherever these are cut."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        """Pieces of the line that has not ended."""
        self._name = ""
        self._data: list[bytes] = []
        self._has_ended = False

    def read(self, piece: bytes) -> Iterator[Event]:
        """Yields the events that the next bytes complete; those of newer servers are passed over.

        Raises:
            PlumblineError: The answer failed, or an event is none of Plumbline's.
        """
        *whole, rest = piece.split(b"\n")
        if whole:
            self._pieces.append(whole[0])
            whole[0] = b"".join(self._pieces)
            self._pieces = []
        self._pieces.append(rest)
        for line in whole:
            yield from self._take(line.removesuffix(b"\r"))

    def check_end(self) -> None:
        """Checks that the stream has ended with the whole answer.

        Raises:
            UnreachableError: It was cut off.
        """
        if not self._has_ended:
            raise UnreachableError(
                "The stream was cut off before the whole answer came. Ask again.",
                code="interrupted",
            )

    def _take(self, line: bytes) -> Iterator[Event]:
        if not line:
            name, data = self._name, b"\n".join(self._data)
            self._name, self._data = "", []
            yield from self._event(name, data)
        elif line.startswith(b"event:"):
            self._name = line[6:].strip().decode(errors="replace")
        elif line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))

    def _event(self, name: str, data: bytes) -> Iterator[Event]:
        try:
            if name == "error":
                raise problem_error(json.loads(data))
            found = [_EVENTS[name].model_validate_json(data)] if name in _EVENTS else []
        except (ValueError, KeyError, TypeError) as error:
            raise UnexpectedAnswerError(
                f"The event {name!r} of the stream is none of Plumbline's.",
                code="unexpected_answer",
            ) from error
        self._has_ended |= name == "answer"
        yield from found


def events_of(response: httpx.Response) -> Generator[Event, None, None]:
    """Yields the events of a response's stream; raises as `_reading` does."""
    with _reading(response) as reader:
        for piece in response.iter_bytes():
            yield from reader.read(piece)


async def events_of_async(response: httpx.Response) -> AsyncGenerator[Event, None]:
    """Yields the events of a response's stream; raises as `_reading` does."""
    with _reading(response) as reader:
        async for piece in response.aiter_bytes():
            for event in reader.read(piece):
                yield event


@contextlib.contextmanager
def _reading(response: httpx.Response) -> Iterator[EventReader]:
    """Yields a reader of a response's stream, which must be whole at the end of the block.

    Raises:
        UnexpectedAnswerError: It is no stream of events.
        UnreachableError: The connection is lost, or the stream was cut off.
    """
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        raise unexpected(response)
    reader = EventReader()
    try:
        yield reader
    except httpx.RequestError as error:
        raise unreachable(response.request, error) from error
    reader.check_end()
