"""Writes the ledger in the background, and closes what dead processes left open."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import uuid4

from rag.catalog.usage import Usage
from rag.errors import RagError
from rag.process.background import running
from rag.records import LedgerRow
from rag.telemetry import metrics

MAX_WAITING = 10_000
"""Rows that may wait for the catalog; further ones are lost, counted and logged."""
RETRY_SECONDS = 1.0
FLUSH_SECONDS = 10.0
"""Seconds at the end for the rows that still wait."""
LOOK_SECONDS = 60.0
"""Seconds between looks for processes that have died."""
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Batch:
    """Rows that are written together, and the signal that they are."""

    rows: dict[tuple[str, int], LedgerRow] = field(default_factory=dict)
    written: asyncio.Event = field(default_factory=asyncio.Event)
    merged: list[asyncio.Event] = field(default_factory=list)

    def absorb(self, newer: _Batch) -> None:
        """Takes over the rows of a newer batch, which replace those of the same work."""
        self.rows |= newer.rows
        self.merged += [newer.written, *newer.merged]

    def done(self) -> None:
        for event in (self.written, *self.merged):
            event.set()


class Ledger:
    """Rows come in as work begins and ends; each transaction writes those that wait by then.

    A process that is killed leaves the rows of its work under way open. The next one that starts,
    or lives, finds that it has died, and closes them as interrupted.
    """

    def __init__(self, usage: Usage) -> None:
        self._usage = usage
        self.writer = uuid4().hex
        self._waiting = _Batch()
        self._wake = asyncio.Event()
        self._losing = False

    def put(self, *rows: LedgerRow) -> asyncio.Event:
        """Takes the rows of one piece of work; returns at once.

        Returns:
            An event that is set once they are stored.
        """
        batch = self._waiting
        if len(batch.rows) >= MAX_WAITING:
            metrics.usage_rows("lost", len(rows))
            if not self._losing:
                _log.error(
                    "The ledger loses rows: %d wait already, and the catalog does not take them.",
                    MAX_WAITING,
                )
            self._losing = True
            return batch.written
        batch.rows |= {(row.id, row.part): row for row in rows}
        self._wake.set()
        return batch.written

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator[None]:
        """Writes what comes in until the end of the block, and then what still waits.

        Raises:
            RagError: The catalog cannot be used.
        """
        async with self._usage.writing(self.writer):
            await self._end_dead()
            await self._usage.begin_writer(self.writer)
            async with contextlib.AsyncExitStack() as stack:
                stack.push_async_callback(self._close)
                await stack.enter_async_context(running(self._run(), self._look()))
                stack.push_async_callback(self._flush_in_time)
                yield

    async def _flush_in_time(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.flush(), FLUSH_SECONDS)

    async def flush(self) -> None:
        """Returns once everything that was taken is stored."""
        await self.put().wait()

    async def _close(self) -> None:
        if left := len(self._waiting.rows):
            metrics.usage_rows("lost", left)
            _log.error("The ledger lost %d rows: the catalog did not take them.", left)
        try:
            await self._usage.end_writer(self.writer)
        except RagError as error:  # the next process does it
            _log.error("The ledger is not closed: %s", error.in_full())

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._waiting = self._waiting, _Batch()
            try:
                if batch.rows:
                    await self._usage.write(list(batch.rows.values()))
            except asyncio.CancelledError:
                self._keep(batch)
                raise
            except RagError as error:
                _log.error("The ledger is not written yet: %s", error.in_full())
                self._keep(batch)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                metrics.usage_rows("written", len(batch.rows))
                self._losing = False
                batch.done()

    def _keep(self, batch: _Batch) -> None:
        """Has rows wait again that were not written."""
        batch.absorb(self._waiting)
        self._waiting = batch
        self._wake.set()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._end_dead()
            except RagError as error:
                _log.error("Open rows of the ledger are not looked at: %s", error.in_full())

    async def _end_dead(self) -> None:
        for writer, rows in (await self._usage.end_dead_writers()).items():
            metrics.usage_rows("interrupted", rows)
            _log.warning(
                "The process %s died while it wrote the ledger: what %d requests used that were"
                " under way is not known. Those that began in its last moment may have no row.",
                writer,
                rows,
            )
