"""From the catalog to the broker.

The catalog is what is true; the broker carries ids. What was accepted is in the catalog's outbox
until the broker has it, and goes there again if the broker or a worker lost it: a task that comes
twice finds that it is done, or that somebody is at it.
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
from workers.local_queue import running
from workers.scoring_queue import GiveOut

BATCH = 500
TOGETHER = 4
"""Bulk documents in one message: what Celery does for each takes half as long as a short one."""
POLL_SECONDS = 1.0
"""Between looks into the outbox: tasks that failed come back into it when they are due."""
RETRY_SECONDS = 0.25
"""The same, while the broker or the catalog does not answer: what waits is sent with its return."""
GATHER_SECONDS = 0.1
"""Between two drains: what comes in the meantime goes together."""
LOST_SECONDS = 30.0
"""What the broker was given that long ago, and is not waiting in its queues, is given again."""

_log = logging.getLogger(__name__)


class CeleryQueue:
    """Tells the workers of tasks, for as long as it is started."""

    def __init__(self, *, catalog: Catalog, app: Celery) -> None:
        self._catalog = catalog
        self._app = app
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Says that tasks were submitted."""
        self._wake.set()

    async def drain(self) -> None:
        """Gives the broker all that is in the outbox.

        Raises:
            UpstreamError: The broker does not answer; the tasks stay in the outbox.
        """
        while await self._send():
            pass

    def started(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Runs until the end of the block."""
        return running(self._run())

    async def _run(self) -> None:
        looked, is_away = -POLL_SECONDS, False
        while True:
            self._wake.clear()
            try:
                await self.drain()
                # Not whenever it is woken; while it fails always, for nothing may wait to be sent.
                if is_away or time.monotonic() - looked >= POLL_SECONDS:
                    looked = time.monotonic()
                    await self._find_lost()
            except RagError as error:
                if not is_away:
                    _log.error("Tasks wait for the broker: %s", error.in_full())
                is_away = True
            except Exception:  # noqa: BLE001 - without it nothing would be handed out any more
                _log.exception("Tasks wait for the broker")
            else:
                if is_away:
                    _log.warning("Tasks are handed out again.")
                is_away = False
            await asyncio.sleep(GATHER_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_SECONDS if is_away else POLL_SECONDS):
                    await self._wake.wait()

    async def _send(self) -> int:
        async with self._catalog.outbox(BATCH) as due:
            if due:
                await asyncio.to_thread(self._publish, due)
        return len(due)

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
        if empty := await asyncio.to_thread(self._empty):
            await self._catalog.give_again(empty, older_than=LOST_SECONDS)

    def _empty(self) -> list[tuple[Stage, bool]]:
        """The queues in which nothing waits."""
        with connected(self._app) as connection:
            return [
                (stage, bulk)
                for stage in STAGES
                for bulk in (False, True)
                if not waiting_in(connection, queue_of(stage, bulk=bulk))
            ]


def _messages_of(due: Sequence[DueTask]) -> Iterator[tuple[str, list[DueTask]]]:
    """Queues and the tasks to put there: what somebody waits for is alone."""
    waiting: dict[tuple[Stage, bool], list[DueTask]] = {}
    for task in due:
        waiting.setdefault((task.stage, task.bulk), []).append(task)
    for (stage, bulk), tasks in waiting.items():
        size = TOGETHER if bulk else 1
        for i in range(0, len(tasks), size):
            yield queue_of(stage, bulk=bulk), tasks[i : i + size]


def _headers(tasks: Sequence[DueTask]) -> dict[str, str]:
    """W3C's, for what else looks at a message: our workers have it from the catalog, as all else.

    Tasks that share a message are bulk, and begin traces of their own.
    """
    traceparent = tasks[0].traceparent
    return {"traceparent": traceparent} if traceparent else {}


def to_workers(app: Celery) -> GiveOut:
    """Has workers score answers."""

    async def give_out(ids: Sequence[str]) -> None:
        await asyncio.to_thread(send, app, SCORE, list(ids), queue=SCORE_QUEUE)

    return give_out
