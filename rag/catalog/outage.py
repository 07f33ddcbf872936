"""Outages of a database server, in which calls wait for its return."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rag.catalog.database_errors import lost_connection, original

T = TypeVar("T")
RETURN_SECONDS = 5.0
"""Seconds in which a server that was there may return: a restart takes less."""
TRY_SECONDS = 0.1
"""Seconds between two tries."""


class Outage:
    """Lets calls wait for a server that restarts.

    Calls wait from the first failure for `RETURN_SECONDS`; in a longer outage they fail at once,
    until the server has returned. A server that was never there is not waited for.
    """

    def __init__(self, vendor: tuple[type[Exception], ...]) -> None:
        """Makes the object; `vendor` lists what the driver may raise."""
        self._vendor = vendor
        self._began: float | None = -math.inf

    async def retry(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeats a call while the server restarts, and returns its result.

        Raises:
            Exception: The call's last error.
        """
        while True:
            try:
                result = await call()
            except self._vendor as error:
                if not lost_connection(original(error)) or self._is_long():
                    raise
                await asyncio.sleep(TRY_SECONDS)
            else:
                self._began = None
                return result

    def _is_long(self) -> bool:
        now = time.monotonic()
        if self._began is None:
            self._began = now
        return now - self._began > RETURN_SECONDS
