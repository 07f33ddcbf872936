"""Connections with time limits: no client holds one open for ever by sending half a request."""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from asyncio.events import TimerHandle
from typing import Any
from uuid import uuid4

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from rag.api import problems
from rag.errors import BusyError, InputError, RagError

HEAD_SECONDS = 10.0
"""Seconds for a request line and its headers, from their first byte or the connection's start."""
HEAD_BYTES = 1 << 16
BODY_SECONDS = 15.0
"""Seconds between checks of a body; if nothing came since the last, the client is gone or waits."""
BODY_RATE = 1000
"""Fewest bytes of a body per second, on average; the first two checks do not count."""
RESERVE = 256
"""Descriptors reserved for the index, the catalog and models; at most a quarter of the limit."""
LINGER_SECONDS = 1.0
"""Seconds for a client to read why it is refused: closing at once would lose the response."""
LOG_SECONDS = 10.0
"""Seconds between two log lines with the same reason for closing connections."""
_log = logging.getLogger(__name__)
_warned: dict[str, float] = {}
"""The time at which each line was last written."""


class SlowRequestError(InputError):
    """A request did not arrive completely in time."""

    code = "request_timeout"
    status = 408


class LargeHeadError(InputError):
    """The headers of a request are too large."""

    code = "headers_too_large"
    status = 431


class BoundedProtocol(HttpToolsProtocol):
    """A connection that is closed if a request is too slow, or there are too many connections."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: TimerHandle | None = None
        self._in_head = True
        self._head_bytes = 0
        self._body_bytes = 0
        self._body_before = 0
        self._body_seconds = 0.0
        self._ended = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Serves the connection if enough descriptors are left for others."""
        super().connection_made(transport)
        limit, used = resource.getrlimit(resource.RLIMIT_NOFILE)[0], _descriptor(transport)
        reserve = min(RESERVE, limit // 4)
        if limit == resource.RLIM_INFINITY or used < limit - reserve:
            self._time_head()
            return
        _warn(
            "There are too many connections: descriptor %d of %d was reached. Raise the limit of"
            " open files (ulimit -n), or let a proxy keep connections away.",
            used,
            limit,
        )
        if used < limit - reserve // 2:
            self._end(BusyError("There are too many connections.", code="too_many_connections"))
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parses received data, unless the connection is about to close."""
        if self._ended:
            return
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._end(LargeHeadError(f"The headers are over {HEAD_BYTES >> 10} KiB."))

    def on_message_begin(self) -> None:
        """Starts the timer of the headers, at the first byte of a request."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._time_head()

    def on_headers_complete(self) -> None:
        """Starts the checks of the body, which may be empty."""
        super().on_headers_complete()
        self._in_head = False
        self._body_bytes = self._body_before = 0
        self._body_seconds = -2 * BODY_SECONDS
        self._restart(BODY_SECONDS, self._check_body)

    def on_body(self, body: bytes) -> None:
        """Counts a part of the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stops the timer, as the whole request has arrived."""
        self._stop_timer()
        super().on_message_complete()

    def _time_head(self) -> None:
        self._restart(HEAD_SECONDS, self._check_head)

    def _check_head(self) -> None:
        if self.cycle and not self.cycle.response_complete:  # the next request, pipelined
            self._time_head()
            return
        _warn("A client sent half a request and no more for %g s.", HEAD_SECONDS)
        self._end(SlowRequestError(f"The headers did not come within {HEAD_SECONDS:g} s."))

    def _check_body(self) -> None:
        if not self.flow.read_paused:  # otherwise it is the server that does not read
            self._body_seconds += BODY_SECONDS
            silent = self._body_bytes == self._body_before
            if silent or self._body_bytes < self._body_seconds * BODY_RATE:
                _warn("A client sent half a body, and then nothing or next to nothing.")
                error = SlowRequestError(
                    f"The body came too slowly: nothing for {BODY_SECONDS:g} s, or less than"
                    f" {BODY_RATE:,} bytes a second."
                )
                self._end(error)
                return
            self._body_before = self._body_bytes
        self._restart(BODY_SECONDS, self._check_body)

    def _end(self, error: RagError) -> None:
        """Sends the error if no response has begun, and closes once the client may have read it."""
        self._stop_timer()
        self._unset_keepalive_if_required()
        self._ended = True
        if self.transport.is_closing():
            return
        answering = self.cycle is not None and not self.cycle.response_complete
        answered = self.cycle is not None and self.cycle.response_complete and not self._in_head
        if answered or (answering and self.cycle.response_started):
            self.transport.close()
            return
        self.transport.write(_refusal(self.scope or {}, error))
        if answering:
            self.cycle.disconnected = True  # so that the app sees that its client is gone
            self.cycle.message_event.set()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _restart(self, seconds: float, check: Any) -> None:
        self._stop_timer()
        if not self._ended:
            self._timer = self.loop.call_later(seconds, check)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _warn(line: str, *values: object) -> None:
    """Logs a line unless the same one was logged less than `LOG_SECONDS` ago."""
    now = time.monotonic()
    if now - _warned.get(line, -LOG_SECONDS) >= LOG_SECONDS:
        _warned[line] = now
        _log.warning(line, *values)


def _descriptor(transport: asyncio.Transport) -> int:
    """Returns its descriptor: the system assigns the lowest free one, so all below are in use."""
    return int(transport.get_extra_info("socket").fileno())


def _refusal(scope: Any, error: RagError) -> bytes:
    """Returns a complete response, as a route would answer, for a request that reaches no route."""
    id_ = scope.get("request_id") or uuid4().hex
    headers = {"Connection": "close", "X-Request-ID": id_, **problems.retry_after(error)}
    body = problems.problem_json(error, id_)
    response = problems.response({"path": "", **scope}, body, headers)
    head = b"".join(b"%s: %s\r\n" % pair for pair in response.raw_headers)
    return STATUS_LINE[response.status_code] + head + b"\r\n" + bytes(response.body)
