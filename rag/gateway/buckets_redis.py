"""Token buckets and permits on Redis, for several processes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from redis.exceptions import RedisError

from rag.errors import UpstreamError
from rag.gateway.buckets import Bucket, Permits, Taken
from rag.gateway.buckets_script import SCRIPT, Operation, read, written
from rag.gateway.redis_line import RedisLine
from rag.privacy.redaction import masked, words

LEASE_SECONDS = 30.0
"""Seconds after which the permits of a process that died are free again."""
RENEWALS = 3
"""Renewals in the time of a lease."""
CALL_SECONDS = 1.0
"""Time limit of a call: a request that waits for its limits is not answered meanwhile."""
RELEASE_SECONDS = 0.005
"""Seconds for which a release waits for an operation to go with, if most permits are free: a client
that asks another server next would miss one otherwise."""
_log = logging.getLogger(__name__)


class RedisStore:
    """`LimitStore` on Redis: each call is a step of a script, which Redis runs alone.

    A permit is a lease, renewed while its request runs: if the process dies, it expires.
    """

    def __init__(
        self, url: str, *, lease_seconds: float = LEASE_SECONDS, call_seconds: float = CALL_SECONDS
    ) -> None:
        """Makes a store; nothing is connected yet.

        A call may take `call_seconds`, and as long again if it waits for another to end.
        """
        self._lease = lease_seconds
        # A call is repeated once on a lost connection. If the first one had reached Redis, the
        # request is charged twice; it never gets more than its limit.
        self._run = _Calls(url, call_seconds, retries=1, lease=lease_seconds)
        self._run_once = _Calls(url, call_seconds, retries=0, lease=lease_seconds)
        self._leases: dict[str, tuple[Permits, ...]] = {}
        self._plenty: set[str] = set()
        """Holders for whom at most half of the permits were in use."""
        self._renewing: asyncio.Task[None] | None = None

    async def take(
        self,
        amounts: Sequence[tuple[Bucket, float]],
        permits: Sequence[Permits] = (),
        *,
        holder: str = "",
    ) -> Taken:
        """Takes all amounts and a permit of each, or nothing."""
        taken = await self._run(
            Operation(kind="take", amounts=amounts, permits=permits, holder=holder)
        )
        if taken.ok and permits:
            self._leases[holder] = tuple(permits)
            held = zip(taken.held, permits, strict=True)
            if all(2 * (count + 1) <= each.at_once for count, each in held):
                self._plenty.add(holder)
            if self._renewing is None:
                self._renewing = asyncio.create_task(self._renew_leases())
        return taken

    async def give(self, amounts: Sequence[tuple[Bucket, float]]) -> None:
        """Adds to buckets, up to their `burst`; never twice."""
        await self._run_once(Operation(kind="give", amounts=amounts))

    async def release(self, permits: Sequence[Permits], *, holder: str) -> None:
        """Releases the permits of a holder."""
        self._leases.pop(holder, None)
        within = RELEASE_SECONDS if holder in self._plenty else 0.0
        self._plenty.discard(holder)
        await self._run(Operation(kind="release", permits=permits, holder=holder), within=within)

    async def close(self) -> None:
        """Closes the connections; permits that are still held expire."""
        if self._renewing:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        await self._run.close()
        await self._run_once.close()

    async def _renew_leases(self) -> None:
        while True:
            await asyncio.sleep(self._lease / RENEWALS)
            renewals = [
                self._run(Operation(kind="renew", permits=permits, holder=holder))
                for holder, permits in self._leases.items()
            ]
            for outcome in await asyncio.gather(*renewals, return_exceptions=True):
                if isinstance(outcome, UpstreamError):
                    _log.warning("Permits are not renewed: %s", outcome.in_full())
                    break


_Waiting = tuple[Operation, asyncio.Future[Taken]]


class _Calls:
    """Calls of the script. Operations that come while one is under way go together in the next.

    A lone operation does not wait, and under load calls carry more by themselves, as in
    `rag.inference.batching`. They are carried out in the order in which they came.
    """

    def __init__(self, url: str, seconds: float, *, retries: int, lease: float) -> None:
        self._url = url
        self._lease = lease
        self._line = RedisLine(url, SCRIPT, seconds=seconds, retries=retries)
        self._waiting: list[_Waiting] = []
        self._sending: asyncio.Task[None] | None = None
        self._due = False
        self._later: asyncio.TimerHandle | None = None

    async def __call__(self, operation: Operation, *, within: float = 0.0) -> Taken:
        """Returns the result of an operation; one whose caller is cancelled may be left out.

        It goes at once, or waits for another to go with for so many seconds.

        Raises:
            UpstreamError: Redis does not answer.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Taken] = loop.create_future()
        self._waiting.append((operation, future))
        if not within:
            self._start()
        elif self._later is None:
            self._later = loop.call_later(within, self._start)
        return await future

    async def close(self) -> None:
        """Closes the connection, after what waits."""
        if self._sending:
            await self._sending
        await self._line.close()

    def _start(self) -> None:
        """Sends all that waits, now or after the call that is under way."""
        if self._later:
            self._later.cancel()
            self._later = None
        self._due = True
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        """Sends what waits while something is due: a run for each tenant, all in one call."""
        while self._due:
            self._due = False
            slots: dict[str, list[_Waiting]] = {}
            for operation, future in self._waiting:
                if not future.done():
                    slots.setdefault(operation.slot, []).append((operation, future))
            self._waiting = []
            if slots:
                await self._call(list(slots.values()))
        self._sending = None

    async def _call(self, batches: Sequence[Sequence[_Waiting]]) -> None:
        try:
            calls = [
                written([operation for operation, _ in batch], lease=self._lease)
                for batch in batches
            ]
            results = await self._line.run(calls)
        except Exception as error:  # noqa: BLE001 - each caller gets it from its future
            for batch in batches:
                self._fail(batch, error)
            return
        for batch, result in zip(batches, results, strict=True):
            if isinstance(result, Exception):
                self._fail(batch, result)
            else:
                _settle(batch, read(result))

    def _fail(self, batch: Sequence[_Waiting], error: Exception) -> None:
        for _, future in batch:
            if not future.done():
                future.set_exception(self._failure(error))

    def _failure(self, error: Exception) -> Exception:
        if not isinstance(error, RedisError | OSError):
            return error
        return UpstreamError(
            "Redis does not answer, and the limits are in it. Is it running, and is the"
            " setting gateway.limits.redis_url right?",
            code="limits_unavailable",
            detail=f"{masked(self._url)}: {words(error, self._url)}.",
        )


def _settle(batch: Sequence[_Waiting], results: Sequence[Taken]) -> None:
    for (_, future), result in zip(batch, results, strict=True):
        if not future.done():
            future.set_result(result)
