"""The embedded queue: tasks wait in the catalog, so accepted documents outlive the process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Sequence,
)
from typing import Any

from rag.catalog.catalog import Catalog
from rag.errors import RagError, UpstreamError, for_log
from rag.process.background import running
from rag.records import Task
from rag.types import Scope

IN_FLIGHT = 20
"""Documents processed at once: enough to fill the embedder's batches, and a bound on memory."""

KEPT_FREE = 4
"""Slots of these for interactive documents alone: slow bulk documents cannot take all slots."""

CLAIMED_AT_ONCE = 4
"""Free bulk slots before a claim: a query after each document costs more than idle slots."""

RETRY_SECONDS = 10.0
"""Seconds between tries to write to a catalog that could not be written."""

DOWN_SECONDS = 0.25
"""The same, if the catalog is on a server that does not answer."""

_log = logging.getLogger(__name__)


def _raise_first(ended: Iterable[asyncio.Task[None]]) -> None:
    """Raises the first error of tasks that have ended; asyncio would report each of the others."""
    errors = [error for each in ended if (error := each.exception())]
    if errors:
        raise errors[0]


class LocalQueue:
    """Runs pending tasks in this process, tenants in turn, bulk last; then maintains the index."""

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
        self._running: dict[asyncio.Task[None], Task] = {}
        self._touched: set[Scope] = set()

    def wake(self) -> None:
        """Signals that tasks were submitted."""
        self._wake.set()

    async def drain(self) -> None:
        """Works until no task is left, then maintains the indexes that were written to.

        Raises:
            RagError: The catalog cannot be used; tasks under way are resumed at the next start.
        """
        await self._work()
        await self._tidy()

    async def _work(self) -> None:
        ended: dict[asyncio.Task[None], Task] = {}
        try:
            if interrupted := await self._catalog.tasks.interrupted():
                alone = asyncio.create_task(self._one_by_one(interrupted))
                self._running[alone] = interrupted[0]
            while True:
                self._wake.clear()
                for task in await self._claim(ended.values()):
                    self._touched.add(task.scope)
                    self._running[asyncio.create_task(self._ingest(task))] = task
                if not self._running:
                    wait = await self._catalog.tasks.next_due()
                    if wait is None:
                        return
                    await self._sleep(wait)
                    continue
                ended = await self._woken_or_done()
                _raise_first(ended)
        except Exception:
            await self._finish()
            raise
        except asyncio.CancelledError:  # tasks under way start over at the next start
            for running in self._running:
                running.cancel()
            await self._finish()
            raise

    async def _one_by_one(self, interrupted: Sequence[Task]) -> None:
        """Runs interrupted tasks in sequence, so that one that ends the process is counted alone.

        Other tasks run at the same time.
        """
        for task in interrupted:
            self._touched.add(task.scope)
            await self._ingest(task)

    async def _claim(self, ended: Collection[Task]) -> list[Task]:
        """Claims tasks for the free slots; bulk tasks leave some of the slots free.

        `ended` holds the tasks that ended since; if it is empty, a user may wait for a new task.
        """
        room = IN_FLIGHT - len(self._running)
        hurried = sum(not task.bulk for task in self._running.values())
        bulk = min(room, max(0, room - KEPT_FREE + hurried))
        among_kept = not bulk and not all(task.bulk for task in ended)
        if room and (not ended or among_kept or bulk >= CLAIMED_AT_ONCE):
            return await self._catalog.tasks.claim(room, bulk=bulk)
        return []

    async def _woken_or_done(self) -> dict[asyncio.Task[None], Task]:
        """Waits for a new task or the end of one; returns those that have ended."""
        woken = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait({*self._running, woken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
        done = [task for task in self._running if task.done()]
        return {task: self._running.pop(task) for task in done}

    async def _finish(self) -> None:
        await asyncio.gather(*self._running, return_exceptions=True)
        self._running.clear()

    async def _sleep(self, seconds: float) -> None:
        """Sleeps until a failed task is due again, or a new one is submitted."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds + 0.01):
                await self._wake.wait()

    async def _tidy(self) -> None:
        while self._touched:
            scope = self._touched.pop()
            try:
                await self._maintain(scope)
            except Exception as error:  # noqa: BLE001 - ingested documents are found without it
                message, bug = for_log(error)
                _log.error(
                    "Collection %s of tenant %s is searched without a new graph: %s",
                    *(scope.collection, scope.tenant),
                    message,
                    exc_info=bug,
                )

    async def _run(self) -> None:
        """Works at each wake-up, without end; maintains indexes in parallel, so no task waits."""
        is_down = False
        async with asyncio.TaskGroup() as background:
            while True:
                try:
                    await self._work()
                except Exception as error:  # noqa: BLE001 - otherwise all later tasks would wait
                    message, bug = for_log(error)
                    was_down, is_down = is_down, isinstance(error, UpstreamError)
                    if not (was_down and is_down):
                        _log.error(
                            "The ingest queue stopped: %s It tries again.", message, exc_info=bug
                        )
                    await asyncio.sleep(DOWN_SECONDS if is_down else RETRY_SECONDS)
                    await self._release()
                else:
                    is_down = False
                    background.create_task(self._tidy())
                    await self._wake.wait()

    async def _release(self) -> None:
        with contextlib.suppress(RagError):  # still full, or away: the next round reports it again
            await self._catalog.tasks.release()

    def started(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Runs until the end of the block; tasks under way then start over at the next start."""
        return running(self._run())
