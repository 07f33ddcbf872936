"""Passes traces and scores to a separate process, which sends them.

Masking a search's passages, writing its spans and talking to a server take milliseconds of an
interpreter that a request would wait for; in this process a trace is only pickled. A masking
pattern that is slow on some text, or a server that never answers, blocks the other process alone.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from rag.errors import RagError, UpstreamError
from rag.process.child_process import ChildProcess, Worker
from rag.telemetry import metrics
from rag.telemetry.trace import Score, Trace

MAX_BYTES = 16 << 20
"""Bytes that may wait; anything beyond them is lost, and counted."""
AT_ONCE = 32
"""Parcels in one request."""
EVERY_SECONDS = 0.2
"""Seconds between sends; to send many parcels costs little more than to send one."""
REQUEST_SECONDS = 5.0
"""Seconds that one request to a server may take."""
RESTART_SECONDS = 60.0
"""Seconds between attempts to start a process that does not start."""
_CALL_SECONDS = 6 * REQUEST_SECONDS
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parcel:
    """A pickled trace or tuple of scores, with the number of its spans or scores."""

    data: bytes
    spans: int = 0
    scores: int = 0


@dataclass(frozen=True, slots=True)
class Arrived:
    """The numbers of spans and scores that arrived; `fault` is why spans did not, if known."""

    spans: int = 0
    scores: int = 0
    fault: str = ""


Export = Worker[list[bytes], Arrived]
"""Sends the data of parcels."""


class Backlog:
    """A thread-safe FIFO queue of parcels, of at most `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parcels: deque[Parcel] = deque()
        self._size = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._parcels)

    def put(self, parcel: Parcel) -> bool:
        """Adds a parcel; returns False if there is no room for it."""
        with self._lock:
            if self._size + len(parcel.data) > self._max_bytes:
                return False
            self._parcels.append(parcel)
            self._size += len(parcel.data)
            return True

    def take(self, count: int) -> list[Parcel]:
        """Removes and returns the first parcels, at most `count`."""
        with self._lock:
            taken = [self._parcels.popleft() for _ in range(min(count, len(self._parcels)))]
            self._size -= sum(len(parcel.data) for parcel in taken)
            return taken


class TraceSender:
    """Sends traces and scores to one receiver in the background."""

    def __init__(self, load: Callable[[], Export], *, host: str, takes_scores: bool) -> None:
        """Starts the thread, which starts the process when there is something to send.

        Args:
            load: picklable; makes the function that sends, in the process.
            host: the receiver's, for messages.
            takes_scores: True if the receiver takes scores; otherwise they are not sent.
        """
        self._host = host
        self._takes_scores = takes_scores
        self._start = partial(ChildProcess, load, name="traces", lanes=1, seconds=_CALL_SECONDS)
        self._backlog = Backlog(MAX_BYTES)
        self._closing = threading.Event()
        self._process: ChildProcess[list[bytes], Arrived] | None = None
        self._start_at = 0.0
        self._lost: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def send(self, trace: Trace) -> bool:
        """Queues an ended trace; returns at once. The trace is lost if the queue is full.

        Returns:
            True if the trace is wanted: it is sampled, or it failed or was degraded.
        """
        if not (trace.sampled or trace.root.error or trace.degraded):
            metrics.traces("left out", 1)
            return False
        self._put(Parcel(_pickled(trace), spans=1 + len(trace.spans)))
        return True

    def score(self, scores: Sequence[Score]) -> None:
        """Queues scores of an answer; returns at once. They are lost if the queue is full."""
        if scores and self._takes_scores:
            self._put(Parcel(_pickled(tuple(scores)), scores=len(scores)))

    def close(self) -> None:
        """Sends the waiting parcels, within the time of two requests at most."""
        self._closing.set()
        self._thread.join(2 * REQUEST_SECONDS)
        if self._backlog:
            _log.warning("Traces and scores are left behind: %s.", len(self._backlog))
        if self._process:
            self._process.close()

    def _put(self, parcel: Parcel) -> None:
        if not self._backlog.put(parcel):
            _count([parcel], Arrived())

    def _run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                while True:
                    is_last = self._closing.wait(EVERY_SECONDS)
                    while parcels := self._backlog.take(AT_ONCE):
                        runner.run(self._send(parcels))
                    if is_last:
                        return
        finally:  # `close` may have given up before the process was started
            if self._process:
                self._process.close()

    async def _send(self, parcels: Sequence[Parcel]) -> None:
        """Sends parcels, and counts what arrived."""
        cause, arrived = "it refuses them, or is not there", Arrived()
        try:
            arrived = await self._opened().call([parcel.data for parcel in parcels])
        except Exception as error:  # noqa: BLE001 - a failed send must not end the thread
            # The message of another library's error may contain content that was to be masked.
            cause = str(error) if isinstance(error, RagError) else type(error).__name__
        _count(parcels, arrived)
        if spans := sum(parcel.spans for parcel in parcels):
            self._warn_once("Traces", arrived.spans == spans, arrived.fault or cause)
        if any(parcel.scores for parcel in parcels):
            self._warn_once("Scores", arrived.scores > 0, cause)

    def _opened(self) -> ChildProcess[list[bytes], Arrived]:
        if self._process is None:
            if time.monotonic() < self._start_at:
                raise UpstreamError("Its process could not be started.")
            self._start_at = time.monotonic() + RESTART_SECONDS
            self._process = self._start()
        return self._process

    def _warn_once(self, kind: str, arrived: bool, cause: str) -> None:
        """Warns once of parcels that do not arrive, not for each batch."""
        if arrived:
            self._lost.discard(kind)
        elif kind not in self._lost:
            self._lost.add(kind)
            _log.warning(
                "%s cannot be sent to %s (%s), and are lost until they can be: is the server up,"
                " and are the keys right?",
                kind,
                self._host,
                cause,
            )


def _pickled(content: object) -> bytes:
    return pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL)


def _count(parcels: Sequence[Parcel], arrived: Arrived) -> None:
    """Counts what arrived and what was lost.

    A trace that lacks a span counts as lost. It is not known to which trace a missing span belongs:
    each is counted for a different trace.
    """
    spans = [parcel.spans for parcel in parcels if parcel.spans]
    lost = sum(spans) - arrived.spans
    lost_traces = min(lost, len(spans))
    metrics.traces("sent", len(spans) - lost_traces)
    metrics.traces("lost", lost_traces)
    metrics.spans("sent", arrived.spans)
    metrics.spans("lost", lost)
    scores = sum(parcel.scores for parcel in parcels)
    metrics.sent_scores("sent", arrived.scores)
    metrics.sent_scores("lost", scores - arrived.scores)
