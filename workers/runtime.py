"""The runtime of a worker process: an event loop on a thread, with its work opened on the loop.

Celery's threads wait while all their documents are processed together on the loop, which fills the
embedder's batches across documents. The model is loaded once, in a separate process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import uvloop

from rag.errors import BusyError, RagError
from rag.records import Task
from rag.types import Scope
from workers.tasks import Work

BUSY_SECONDS = 2.0
"""Seconds until a task is tried again if another process works on its document."""
UNDER_WAY_SECONDS = 30.0
"""The same, if another process seems to work on the task itself."""
IDLE_SECONDS = 2.0
"""Seconds without a task after which the index is maintained."""

_log = logging.getLogger(__name__)


class Runtime:
    """Runs a worker's tasks on its loop for other threads."""

    def __init__(self, opening: AbstractAsyncContextManager[Work]) -> None:
        """Starts the loop; returns when everything is loaded.

        Raises:
            RagError: The work cannot be opened.
        """
        self._loop = uvloop.new_event_loop()
        self._stack = contextlib.AsyncExitStack()
        self._under_way = 0
        self._touched: set[Scope] = set()
        self._interrupted: int | None = None
        self._tidying: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="runtime", daemon=True)
        self._thread.start()
        try:
            self._work: Work = self._call(self._stack.enter_async_context(opening))
        except BaseException:
            self._end()
            raise

    def ingest(self, task_ids: Sequence[int]) -> None:
        """Processes the documents of these tasks, one by one; returns when all are done."""
        self._call(self._ingest(task_ids))

    def score(self, ids: Sequence[str]) -> None:
        """Scores these answers; returns when that is done."""
        self._call(self._score(ids))

    def answer(self, run: str, question_id: str) -> None:
        """Answers a question of an offline run; returns when its outcome is written."""
        self._call(self._work.answer(run, question_id))

    def close(self) -> None:
        """Closes the work and ends the loop."""
        self._call(self._close())
        self._end()

    async def _ingest(self, task_ids: Sequence[int]) -> None:
        self._under_way += 1
        try:
            for task in await self._work.catalog.tasks.get(task_ids):
                await self._take(task)
        except RagError as error:  # the catalog is away: the dispatcher finds the tasks again
            _log.error("Tasks %s are not processed yet: %s", task_ids, error.in_full())
        finally:
            self._under_way -= 1
        if self._tidying is None or self._tidying.done():
            self._tidying = self._loop.create_task(self._tidy_when_idle())

    async def _score(self, ids: Sequence[str]) -> None:
        try:
            await self._work.score(ids)
        except RagError as error:  # the catalog is away: the answers are given out again
            _log.error("Answers are not scored yet: %s", error.in_full())

    async def _take(self, task: Task) -> None:
        """Processes a task; never two interrupted ones at once, see `rag.catalog.interrupted`."""
        if not task.interrupted:
            await self._process(task, busy_seconds=BUSY_SECONDS)
        elif self._interrupted is None:
            self._interrupted = task.id
            try:
                await self._process(task, busy_seconds=UNDER_WAY_SECONDS)
            finally:
                self._interrupted = None
        elif self._interrupted != task.id:
            await self._work.catalog.tasks.put_back(task, seconds=BUSY_SECONDS)

    async def _process(self, task: Task, *, busy_seconds: float) -> None:
        try:
            await self._work.take(task)
        except BusyError:
            # The message is used up, and the process that works on the document may still die.
            await self._work.catalog.tasks.put_back(task, seconds=busy_seconds)
        else:
            self._touched.add(task.scope)

    async def _tidy_when_idle(self) -> None:
        while self._touched:
            await asyncio.sleep(IDLE_SECONDS)
            if not self._under_way:
                scope = self._touched.pop()
                try:
                    await self._work.tidy(scope)
                except RagError as error:  # ingested documents are found even without it
                    _log.error(
                        "Collection %s of tenant %s is not tidied: %s",
                        *(scope.collection, scope.tenant, error.in_full()),
                    )

    async def _close(self) -> None:
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.gather(self._tidying, return_exceptions=True)
        await self._stack.aclose()

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
