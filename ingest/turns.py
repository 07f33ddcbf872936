"""Turns of jobs, which share a few readers."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import NamedTuple


class ReadingJob(NamedTuple):
    """The job that a document is read for; somebody waits for it unless it is `bulk`."""

    job: str = ""
    bulk: bool = False


_NO_JOB = ReadingJob()
_CURRENT = ContextVar("reading_job", default=_NO_JOB)


@contextlib.contextmanager
def reading_for(job: str, *, bulk: bool) -> Iterator[None]:
    """Documents read in this block are read for a job."""
    token = _CURRENT.set(ReadingJob(job, bulk))
    try:
        yield
    finally:
        _CURRENT.reset(token)


class Turns:
    """Gives out a fixed number of places.

    Jobs that somebody waits for come first; within them, and then within the others, jobs take
    turns, however many documents each has. The last free place goes neither to a bulk job nor to
    one that holds a place already: if all the others are slow, the next job still finds a reader. A
    single place is for all.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._held: Counter[ReadingJob] = Counter()
        self._waiting: dict[ReadingJob, deque[asyncio.Future[None]]] = {}

    @contextlib.asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Waits for a place, and holds it in this block."""
        job = _CURRENT.get()
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(job, deque()).append(turn)
        self._give()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():
                self._held[job] -= 1
            self._give()

    def _give(self) -> None:
        """Gives out the free places."""
        while (job := self._next()) is not None:
            turn = self._pop(job)
            if not turn.done():  # it may have been cancelled
                self._held[job] += 1
                turn.set_result(None)

    def _next(self) -> ReadingJob | None:
        """Returns the job that comes next; None if none may have a place now."""
        free = self._places - self._held.total()
        last = free == 1 and self._places > 1
        for job in sorted(self._waiting, key=lambda job: job.bulk):
            if free and not (last and (job.bulk or self._held[job])):
                return job
        return None

    def _pop(self, job: ReadingJob) -> asyncio.Future[None]:
        """Returns the first waiting place of a job and moves the job behind all others."""
        turns = self._waiting.pop(job)
        turn = turns.popleft()
        if turns:
            self._waiting[job] = turns
        return turn
