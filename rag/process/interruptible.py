"""Blocking work in a thread, which ends with its caller."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def interruptible(work: Callable[[threading.Event], T]) -> T:
    """Runs `work` in a thread and returns its result.

    If the caller is cancelled, as by Ctrl-C, the event is set, and the end of the work is awaited:
    what it uses may be removed then. The work is to look at the event, and to raise.
    """
    stop = threading.Event()
    working = asyncio.ensure_future(asyncio.to_thread(work, stop))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.gather(working, return_exceptions=True)
        raise
