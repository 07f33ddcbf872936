"""The embedded queue: tasks wait in the catalog, so what was accepted outlives the process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from rag.catalog import Catalog
from rag.errors import RagError
from rag.records import Task
from rag.types import Scope

IN_FLIGHT = 16
"""Documents under way at once: enough to fill the embedder's batches, and a bound on memory."""

_log = logging.getLogger(__name__)


class LocalQueue:
    """Runs pending tasks in this process, oldest first; when none is left, tidies the index."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        ingest: Callable[[Task], Coroutine[Any, Any, None]],
        maintain: Callable[[Scope], Awaitable[None]],
    ) -> None:
        self._catalog = catalog
        self._ingest = ingest
        self._maintain = maintain
        self._wake = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._touched: set[Scope] = set()

    def wake(self) -> None:
        """Says that tasks were submitted."""
        self._wake.set()

    async def drain(self) -> None:
        """Works until no task is left, then maintains what was written to."""
        while True:
            self._wake.clear()
            tasks = await self._catalog.claim(IN_FLIGHT - len(self._running))
            for task in tasks:
                self._touched.add(task.scope)
                running = asyncio.create_task(self._ingest(task))
                self._running.add(running)
            if not self._running:
                break
            done, self._running = await asyncio.wait(
                self._running, return_when=asyncio.FIRST_COMPLETED
            )
            for finished in done:
                finished.result()
        while self._touched:
            await self._maintain(self._touched.pop())

    async def run(self) -> None:
        """Drains for ever, whenever woken; a full disk or the like is told and tried again."""
        while True:
            try:
                await self.drain()
                await self._wake.wait()
            except RagError as error:
                _log.error("The ingest queue stopped: %s It tries again in 10 s.", error)
                await asyncio.sleep(10)

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator[None]:
        """Runs until the end of the block; what is under way then starts over at the next start."""
        runner = asyncio.create_task(self.run())
        try:
            yield
        finally:
            for task in (runner, *self._running):
                task.cancel()
            await asyncio.gather(runner, *self._running, return_exceptions=True)
