"""Answers the lines of batches, while it is started: in turns of tenants, a few at a time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from uuid import uuid4

from rag.catalog.batch_forgetting import CHANGED
from rag.catalog.batch_queue import LEASE_SECONDS
from rag.catalog.catalog import Catalog
from rag.errors import BusyError, InputError, RagError, for_log
from rag.process.background import running
from rag.records import DAY, Batch, ClaimedLine, LineOutcome
from rag.telemetry import batch_metrics
from workers.batch_input import lines_of

POLL_SECONDS = 1.0
SWEEP_SECONDS = 5.0
TIDY_SECONDS = 600.0
MAX_ATTEMPTS = 6
"""Attempts at a line, those counted that a process did not survive."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The response to a line: JSON. It has text of these documents of a collection.

    `code` is that of an error.
    """

    status: int
    body: str
    code: str = ""
    retry_after: float | None = None
    collection: str = ""
    document_ids: frozenset[str] = frozenset()


Answering = Callable[[ClaimedLine], Awaitable[Answered]]


class BatchRunner:
    """One of the processes that answer the lines of all batches.

    A line that is refused by a limit of its caller, or because too many questions wait already,
    waits, and so do the others of its batch: that is no attempt. One that the service cannot answer
    now is tried again, `MAX_ATTEMPTS` times.
    """

    def __init__(
        self,
        catalog: Catalog,
        answering: Answering,
        *,
        at_once: int,
        alone: bool,
        keep_days: float,
    ) -> None:
        """Makes a runner.

        Args:
            catalog: Has the batches.
            answering: Answers a line.
            at_once: Lines that are answered at the same time.
            alone: No other process answers lines of this catalog.
            keep_days: Days after which batches that have ended, and files, are deleted.
        """
        self._catalog = catalog
        self._queue = catalog.batch_queue
        self._answering = answering
        self._at_once = at_once
        self._alone = alone
        self._keep_days = keep_days
        self._token = uuid4().hex
        self._under_way: dict[asyncio.Task[None], ClaimedLine] = {}

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator[None]:
        """Runs until the end of the block; lines under way are then free for others."""
        if self._alone:
            await self._queue.release()
        try:
            async with (
                running(_repeated(self._read, POLL_SECONDS)),
                running(_repeated(self._queue.sweep, SWEEP_SECONDS)),
                running(_repeated(self._tidy, TIDY_SECONDS)),
                running(_repeated(self._renew, LEASE_SECONDS / 3)),
                running(_repeated(self._take, 0.0)),
            ):
                yield
        finally:
            await self._stop()

    async def _read(self) -> None:
        """Reads the files of new batches."""
        for batch in await self._queue.unread():
            try:
                async with self._catalog.alone("batch", batch.id, wait=False):
                    await self._read_one(batch)
            except BusyError:
                """Another process reads it."""

    async def _read_one(self, batch: Batch) -> None:
        parts = [part async for part in self._catalog.batch_files.content(batch.input_file_id)]
        try:
            lines = await asyncio.to_thread(lines_of, b"".join(parts), batch.endpoint)
        except InputError as error:
            await self._queue.refuse(batch, {"code": error.code, "message": str(error)})
            return
        await self._queue.begin(batch, lines)
        batch_metrics.lines("invalid", sum(line.state == "failed" for line in lines))

    async def _take(self) -> None:
        """Claims lines for the free places, and waits for the end of one."""
        while len(self._under_way) < self._at_once:
            line = await self._queue.claim(self._token)
            if line is None:
                break
            self._under_way[asyncio.create_task(self._answer(line))] = line
        if not self._under_way:
            await asyncio.sleep(POLL_SECONDS)
            return
        done, _ = await asyncio.wait(
            self._under_way, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            del self._under_way[task]
            if error := task.exception():
                _report("A line of a batch waits for the end of its lease", error)

    async def _answer(self, line: ClaimedLine) -> None:
        if line.attempts > MAX_ATTEMPTS:
            await self._finish(line, _failed("interrupted", "No attempt came to an end."))
            return
        answered = await self._answering(line)
        wait = answered.retry_after
        if wait is not None and _is_refused(answered):
            await self._queue.pause(line.batch_id, seconds=wait)
            await self._queue.put_back(line, seconds=wait, counted=False)
            batch_metrics.lines("postponed")
        elif wait is not None and _is_passing(answered) and line.attempts < MAX_ATTEMPTS:
            await self._queue.put_back(line, seconds=max(wait, 2.0**line.attempts))
            batch_metrics.lines("retried")
        else:
            await self._finish(line, _outcome(answered))

    async def _finish(self, line: ClaimedLine, outcome: LineOutcome) -> None:
        if await self._queue.finish(line, outcome):
            batch_metrics.lines("done" if outcome.state == "done" else "failed")
        elif line.attempts < MAX_ATTEMPTS:
            await self._queue.put_back(line, seconds=0.0)
        else:
            await self._queue.finish(line, _failed(**CHANGED))

    async def _tidy(self) -> None:
        before = time.time() - self._keep_days * DAY
        await self._catalog.batches.forget(before=before)
        await self._catalog.batch_files.forget(before=before)

    async def _renew(self) -> None:
        if self._under_way:
            await self._queue.renew(list(self._under_way.values()))

    async def _stop(self) -> None:
        """Frees the lines under way, and one whose claim was cut off."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        self._under_way.clear()
        try:
            await self._queue.give_back(self._token)
        except RagError as error:
            _report("Lines of batches wait for the end of their leases", error)


async def _repeated(work: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Does the work again and again; if it fails, later ones may succeed."""
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - otherwise no batch would go on
            _report("Batches wait", error)
            await asyncio.sleep(POLL_SECONDS)
        await asyncio.sleep(seconds)


def _report(what: str, error: BaseException) -> None:
    message, bug = for_log(error) if isinstance(error, Exception) else (str(error), None)
    _log.error("%s: %s", what, message, exc_info=bug)


def _is_refused(answered: Answered) -> bool:
    """Returns True if no work was done: a limit of the caller is reached, or others come first."""
    return answered.status == HTTPStatus.TOO_MANY_REQUESTS or answered.code == BusyError.code


def _is_passing(answered: Answered) -> bool:
    return answered.status == HTTPStatus.SERVICE_UNAVAILABLE


def _outcome(answered: Answered) -> LineOutcome:
    ok = HTTPStatus.OK <= answered.status < HTTPStatus.MULTIPLE_CHOICES
    return LineOutcome(
        state="done" if ok else "failed",
        status=answered.status,
        response=answered.body,
        collection=answered.collection,
        document_ids=answered.document_ids,
    )


def _failed(code: str, message: str) -> LineOutcome:
    return LineOutcome(state="failed", error={"code": code, "message": message})
