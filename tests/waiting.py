"""Polls a condition in a test's event loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

from tests.servers import PATIENCE

T = TypeVar("T")


@overload
async def until(
    look: Callable[[], Awaitable[T]], *, seconds: float = ..., pause: float = ...
) -> T: ...
@overload
async def until(look: Callable[[], T], *, seconds: float = ..., pause: float = ...) -> T: ...
async def until(look: Callable[[], Any], *, seconds: float = PATIENCE, pause: float = 0.01) -> Any:
    """Calls `look` until its result is true, and returns that; times out after `seconds`."""
    async with asyncio.timeout(seconds):
        while True:
            seen = look()
            if found := await seen if inspect.isawaitable(seen) else seen:
                return found
            await asyncio.sleep(pause)
