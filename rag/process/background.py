"""Work beside a block."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from rag.errors import for_log

_log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def running(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs `works` beside the block; at its end cancels them, and waits until they have ended."""
    tasks = [asyncio.create_task(work) for work in works]
    for task in tasks:
        task.add_done_callback(_report)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _report(task: asyncio.Task[None]) -> None:
    """Logs the error for which a work has ended: nobody waits for it before the block ends."""
    if not task.cancelled() and isinstance(error := task.exception(), Exception):
        message, bug = for_log(error)
        _log.error("Work in the background has ended: %s", message, exc_info=bug)
