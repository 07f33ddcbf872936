"""Single flight across processes: a lease in Redis says that an answer is being made."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from rag.errors import UpstreamError
from rag.process.redis_calls import RedisCalls

LEASE_SECONDS = 5.0
"""Life of a lease that is not renewed: others wait so long for a process that died."""
RENEW_SECONDS = 1.5
LOOK_SECONDS = 0.05
"""Pause between two looks at a lease that another process has."""
_PREFIX = "plumbline:answer-leases:"
_log = logging.getLogger(__name__)


class Lease:
    """A lease that is held, and renewed, until `end`."""

    def __init__(self, ended: asyncio.Event) -> None:
        self._ended = ended

    def end(self) -> None:
        """Gives the lease back, in the background. A second call does nothing."""
        self._ended.set()


class Leases:
    """The leases of this process.

    They prevent work that is done twice, and nothing else: a process that was stopped for longer
    than a lease lives may give back another's.
    """

    def __init__(self, calls: RedisCalls) -> None:
        self._calls = calls
        self._redis = calls.redis
        self._held: set[asyncio.Task[None]] = set()

    async def take(self, key: str) -> Lease | None:
        """Returns the lease of an answer; None if it is taken.

        Raises:
            UpstreamError: Redis does not answer.
        """
        name, milliseconds = _PREFIX + key, int(LEASE_SECONDS * 1000)
        async with self._calls.calling():
            if not await self._redis.set(name, b"", nx=True, px=milliseconds):
                return None
        ended = asyncio.Event()
        task = asyncio.create_task(self._hold(name, ended))
        self._held.add(task)
        task.add_done_callback(self._held.discard)
        return Lease(ended)

    async def until_free(self, key: str, seconds: float) -> None:
        """Waits until no process has the lease of an answer, at most so long. Raises as `take`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while await self._is_taken(key):  # noqa: ASYNC110 - by another process
                    await asyncio.sleep(LOOK_SECONDS)

    async def close(self) -> None:
        """Waits for leases that are given back."""
        await asyncio.gather(*self._held)

    async def _is_taken(self, key: str) -> bool:
        async with self._calls.calling():
            return bool(await self._redis.exists(_PREFIX + key))

    async def _hold(self, name: str, ended: asyncio.Event) -> None:
        while not await _set_within(ended, RENEW_SECONDS):
            await self._try(partial(self._redis.pexpire, name, int(LEASE_SECONDS * 1000)))
        await self._try(partial(self._redis.delete, name))

    async def _try(self, call: Callable[[], Awaitable[object]]) -> None:
        """Makes a call; if it fails, the lease ends by itself."""
        try:
            async with self._calls.calling():
                await call()
        except UpstreamError as error:
            _log.warning("Answer cache: a lease is not kept up: %s", error.in_full())


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
