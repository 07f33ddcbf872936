"""Runs the synthetic canary at intervals, in one process of many."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from rag.client import AsyncClient
from rag.errors import BusyError, RagError
from rag.operations.synthetic.one_run import run
from rag.telemetry import synthetic_metrics

LOCK = "synthetic canary"
LOOK_SECONDS = 5.0
"""Seconds after which a process looks again whether another one has the lock."""
_log = logging.getLogger(__name__)
Alone = Callable[[], AbstractAsyncContextManager[None]]
"""Takes the lock that one process at a time has and that ends with it; BusyError: another does."""


async def repeat(work: Callable[[], Awaitable[None]], *, alone: Alone, seconds: float) -> None:
    """Works every so many seconds while this process has the lock; never returns.

    The lock is held for an interval, which begins with the work: nobody else works in it.
    """
    synthetic_metrics.interval(seconds)
    while True:
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
        except Exception as error:  # noqa: BLE001 - otherwise it would never run again
            _log.error("The synthetic canary does not run.", exc_info=error)
            await asyncio.sleep(LOOK_SECONDS)


async def watch(client: AsyncClient, *, tenant: str) -> None:
    """Runs the canary once, counts it, and logs a failure; see `run`."""
    report = await run(client, tenant=tenant)
    synthetic_metrics.run(report.steps, succeeded=report.succeeded)
    if not report.succeeded:
        _log.error("The synthetic canary failed at %s.", report.failure)
