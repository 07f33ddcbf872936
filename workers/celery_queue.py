"""Sends tasks from the catalog to the broker.

The catalog is the source of truth; the broker's messages contain only ids. An accepted task is in
the catalog's outbox until the broker has it, and returns there if the broker or a worker lost it. A
task that is delivered twice is found to be done, or to be under way in another process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator, Sequence

from celery import Celery

from rag.catalog.catalog import Catalog
from rag.errors import RagError
from rag.process.background import running
from rag.records import DueTask
from rag.types import Stage
from workers.celery_app import (
    INGEST,
    SCORE,
    SCORE_QUEUE,
    STAGES,
    connected,
    queue_of,
    send,
    waiting_in,
)
from workers.scoring_queue import Dispatch

WINDOW = 64
"""Messages that wait in a queue of the broker at most.

The other tasks wait in the catalog, where tenants take turns. A queue that is full is looked at
again after `GATHER_SECONDS`: that is enough for 600 documents a second, and 2,500 bulk documents.
"""
TOGETHER = 4
"""Bulk documents per message: Celery's work for a message is half that for a short document."""
POLL_SECONDS = 1.0
"""Seconds between checks of the outbox: failed tasks return to it when they are due."""
RETRY_SECONDS = 0.25
"""The same while broker or catalog do not answer: tasks are sent as soon as they are back."""
GATHER_SECONDS = 0.1
"""Seconds between two drains: tasks that arrive meanwhile are sent together."""
LOST_SECONDS = 30.0
"""Seconds after which a sent task is sent again, if no message waits in its queue."""

_log = logging.getLogger(__name__)


class CeleryQueue:
    """Sends tasks to the workers while it is started."""

    def __init__(self, *, catalog: Catalog, app: Celery) -> None:
        self._catalog = catalog
        self._app = app
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Signals that tasks were submitted."""
        self._wake.set()

    async def drain(self) -> None:
        """Sends all tasks in the outbox to the broker, as its queues have room.

        Raises:
            UpstreamError: The broker does not answer; the tasks stay in the outbox.
        """
        more = True
        while more:
            if more := await self._send():
                await asyncio.sleep(GATHER_SECONDS)

    def started(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Runs the queue until the end of the block."""
        return running(self._run())

    async def _run(self) -> None:
        looked, is_down, more = -POLL_SECONDS, False, False
        while True:
            self._wake.clear()
            try:
                more = await self._send()
                # Not at every wake-up, but always while it fails: an empty outbox proves nothing.
                if is_down or time.monotonic() - looked >= POLL_SECONDS:
                    looked = time.monotonic()
                    await self._find_lost()
            except RagError as error:
                if not is_down:
                    _log.error("Tasks wait for the broker: %s", error.in_full())
                is_down = True
            except Exception:  # noqa: BLE001 - otherwise no task would be sent any more
                _log.exception("Tasks wait for the broker")
            else:
                if is_down:
                    _log.warning("Tasks are handed out again.")
                is_down = False
            await asyncio.sleep(GATHER_SECONDS)
            if more and not is_down:
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_SECONDS if is_down else POLL_SECONDS):
                    await self._wake.wait()

    async def _send(self) -> bool:
        """Fills the broker's queues; returns True if tasks may be left that had no room."""
        more = False
        for (stage, bulk), waiting in (await asyncio.to_thread(self._waiting)).items():
            room = (WINDOW - waiting) * (TOGETHER if bulk else 1)
            if room <= 0:
                more = True
                continue
            async with self._catalog.tasks.outbox(room, (stage, bulk)) as due:
                if due:
                    await asyncio.to_thread(self._publish, due)
            more |= len(due) == room
        return more

    def _publish(self, due: Sequence[DueTask]) -> None:
        with connected(self._app) as connection:
            producer = self._app.amqp.Producer(connection)
            for queue, tasks in _messages_of(due):
                self._app.send_task(
                    INGEST,
                    ([task.id for task in tasks],),
                    queue=queue,
                    producer=producer,
                    retry=False,
                    headers=_headers(tasks),
                )

    async def _find_lost(self) -> None:
        waiting = await asyncio.to_thread(self._waiting)
        if empty := [queue for queue, messages in waiting.items() if not messages]:
            await self._catalog.tasks.requeue(empty, older_than=LOST_SECONDS)

    def _waiting(self) -> dict[tuple[Stage, bool], int]:
        """Returns the messages that wait in each queue: pairs of stage and bulk, bulk last."""
        with connected(self._app) as connection:
            return {
                (stage, bulk): waiting_in(connection, queue_of(stage, bulk=bulk))
                for bulk in (False, True)
                for stage in STAGES
            }


def _messages_of(due: Sequence[DueTask]) -> Iterator[tuple[str, list[DueTask]]]:
    """Yields queues with the tasks of one message: a task that is not bulk is sent alone."""
    waiting: dict[tuple[Stage, bool], list[DueTask]] = {}
    for task in due:
        waiting.setdefault((task.stage, task.bulk), []).append(task)
    for (stage, bulk), tasks in waiting.items():
        size = TOGETHER if bulk else 1
        for i in range(0, len(tasks), size):
            yield queue_of(stage, bulk=bulk), tasks[i : i + size]


def _headers(tasks: Sequence[DueTask]) -> dict[str, str]:
    """Returns the W3C headers of a message, for other software; our workers use the catalog's.

    Tasks that share a message are bulk, and begin separate traces.
    """
    traceparent = tasks[0].traceparent
    return {"traceparent": traceparent} if traceparent else {}


def dispatch_to_workers(app: Celery) -> Dispatch:
    """Returns a function that sends answers to the workers to score them."""

    async def dispatch(ids: Sequence[str]) -> None:
        await asyncio.to_thread(send, app, SCORE, list(ids), queue=SCORE_QUEUE)

    return dispatch
