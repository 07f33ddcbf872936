"""Combines the items of concurrent callers into one forward pass."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from rag.errors import BusyError
from rag.telemetry import metrics

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[T, R]):
    item: T
    cost: int
    future: asyncio.Future[R]


class Batcher(Generic[T, R]):
    """Calls `run` with as many waiting items as fit in one batch.

    There is no time window to fill a batch: while batches run, the next one collects items. A
    single request is never delayed, and under load batches grow by themselves (the natural batching
    of Clipper, Crankshaw et al. 2017, https://arxiv.org/abs/1612.03079, without its delay).
    Interactive items go before bulk ones; a cancelled caller's items are never run.
    """

    def __init__(
        self,
        run: Callable[[list[T]], Awaitable[Sequence[R]]],
        *,
        at_once: int,
        cost: Callable[[T], int],
        max_cost: int,
        max_bulk_cost: int,
        max_waiting: int,
        name: str,
    ) -> None:
        """Makes a batcher.

        Args:
            run: items → results, in the same order.
            at_once: number of batches that may run at the same time.
            cost: returns the cost of an item.
            max_cost: bound on the cost of a batch with interactive items; an item over it runs
                alone.
            max_bulk_cost: bound on the cost of a batch of bulk items alone.
            max_waiting: bound on the interactive items that wait.
            name: the model's, for messages.
        """
        self._run = run
        self._cost = cost
        self._max_cost = max_cost
        self._max_bulk_cost = max_bulk_cost
        self._max_waiting = max_waiting
        self._name = name
        self._interactive: deque[_Waiting[T, R]] = deque()
        self._bulk: deque[_Waiting[T, R]] = deque()
        self._free = at_once
        self._running: set[asyncio.Task[None]] = set()

    async def submit(self, items: Sequence[T], *, bulk: bool = False) -> list[R]:
        """Returns the results in the order of `items`.

        Raises:
            BusyError: More than `max_waiting` interactive items are waiting already.
        """
        queue = self._bulk if bulk else self._interactive
        if not bulk and len(queue) + len(items) > self._max_waiting:
            raise BusyError(
                f"The {self._name} is busy: {len(queue)} texts are waiting for it already."
                " Try again in a second."
            )
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(i, self._cost(i), loop.create_future()) for i in items]
        queue.extend(waiting)
        self._start()
        self._count_waiting()
        try:
            return [await w.future for w in waiting]
        finally:
            for w in waiting:
                w.future.cancel()

    def _start(self) -> None:
        while self._free and (batch := self._take()):
            self._free -= 1
            metrics.batch(self._name, len(batch))
            task = asyncio.get_running_loop().create_task(self._answer(batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _answer(self, batch: list[_Waiting[T, R]]) -> None:
        results: Sequence[R] = ()
        failure: Exception | None = None
        try:
            results = await self._run([w.item for w in batch])
        except Exception as error:  # noqa: BLE001 - each caller gets it from its future
            failure = error
        finally:
            self._free += 1
        self._start()  # first: the callers' next steps keep the loop busy for a while
        self._count_waiting()
        waiting = [w.future for w in batch]
        if failure is None:
            for future, result in zip(waiting, results, strict=True):
                if not future.done():
                    future.set_result(result)
        else:
            for future in waiting:
                if not future.done():
                    future.set_exception(failure)
                    future.exception()  # marks it as read: a caller of several reads one alone

    def _count_waiting(self) -> None:
        waiting = len(self._interactive), len(self._bulk)
        metrics.waiting(self._name, interactive=waiting[0], bulk=waiting[1])

    def _take(self) -> list[_Waiting[T, R]]:
        batch: list[_Waiting[T, R]] = []
        total = 0
        most = self._max_cost if self._interactive else self._max_bulk_cost
        for queue in (self._interactive, self._bulk):
            while queue and (not batch or total + queue[0].cost <= most):
                waiting = queue.popleft()
                if not waiting.future.done():
                    batch.append(waiting)
                    total += waiting.cost
        return batch
