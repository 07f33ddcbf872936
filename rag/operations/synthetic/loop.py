"""Runs the synthetic canary at intervals, in one process of many."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from rag.client import AsyncClient
from rag.errors import BusyError, RagError
from rag.operations.synthetic.run import Report, run
from rag.telemetry import synthetic_metrics

LOCK = "synthetic canary"
LOOK_SECONDS = 5.0
"""Seconds after which a process looks again whether another one has the lock."""
_log = logging.getLogger(__name__)
Alone = Callable[[], AbstractAsyncContextManager[None]]
"""Takes the lock that one process at a time has and that ends with it; BusyError: another does."""


async def repeat(client: AsyncClient, *, tenant: str, alone: Alone, seconds: float) -> None:
    """Runs the canary every so many seconds while this process has the lock; never returns."""
    synthetic_metrics.interval(seconds)

    async def run_once() -> None:
        report = await run(client, tenant=tenant)
        synthetic_metrics.run(report.steps, succeeded=report.succeeded)
        _tell(report)

    while True:
        await _hold(alone, run_once, seconds)


async def _hold(alone: Alone, work: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Holds the lock for one interval, which begins with a run: nobody else runs in it."""
    try:
        async with alone():
            began = time.monotonic()
            await work()
            await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))
    except BusyError:
        await asyncio.sleep(LOOK_SECONDS)
    except RagError as error:
        _log.error("The synthetic canary does not run: %s", error.in_full())
        await asyncio.sleep(LOOK_SECONDS)


def _tell(report: Report) -> None:
    if not report.succeeded:
        _log.error("The synthetic canary failed at %s.", report.failure)
