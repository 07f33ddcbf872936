"""Token buckets and permits on Redis, for several processes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import RedisError

from rag.errors import UpstreamError
from rag.gateway.buckets import Bucket, Permits, Taken
from rag.gateway.buckets_script import SCRIPT, Operation, read, written
from rag.privacy.redaction import masked, words

LEASE_SECONDS = 30.0
"""Seconds after which the permits of a process that died are free again."""
RENEWALS = 3
"""Renewals in the time of a lease."""
CALL_SECONDS = 1.0
"""Time limit of a call: a request that waits for its limits is not answered meanwhile."""
CONNECTIONS = 16
"""Connections of a process; a call takes a fraction of a millisecond."""
POOL_SECONDS = 5.0
"""Seconds for which a call waits for one of them."""
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
            if self._renewing is None:
                self._renewing = asyncio.create_task(self._renew_leases())
        return taken

    async def give(self, amounts: Sequence[tuple[Bucket, float]]) -> None:
        """Adds to buckets, up to their `burst`; never twice."""
        await self._run_once(Operation(kind="give", amounts=amounts))

    async def release(self, permits: Sequence[Permits], *, holder: str) -> None:
        """Releases the permits of a holder."""
        self._leases.pop(holder, None)
        await self._run(Operation(kind="release", permits=permits, holder=holder))

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


class _Calls:
    """Calls of the script. Operations that come while one is under way go together in the next.

    A lone operation does not wait, and under load calls carry more by themselves, as in
    `rag.inference.batching`. They are carried out in the order in which they came.
    """

    def __init__(self, url: str, seconds: float, *, retries: int, lease: float) -> None:
        self._url = url
        self._lease = lease
        self._redis = _client(url, seconds, retries=retries)
        self._script = self._redis.register_script(SCRIPT)
        self._waiting: list[tuple[Operation, asyncio.Future[Taken]]] = []
        self._sending: asyncio.Task[None] | None = None

    async def __call__(self, operation: Operation) -> Taken:
        """Returns the result of an operation; one whose caller is cancelled may be left out.

        Raises:
            UpstreamError: Redis does not answer.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Taken] = loop.create_future()
        self._waiting.append((operation, future))
        if self._sending is None:
            self._sending = loop.create_task(self._send())
        return await future

    async def close(self) -> None:
        """Closes the connections, after what waits."""
        if self._sending:
            await self._sending
        await self._redis.aclose()

    async def _send(self) -> None:
        """Sends what waits, until nothing does: a call for each tenant, those of all at once."""
        while self._waiting:
            slots: dict[str, list[tuple[Operation, asyncio.Future[Taken]]]] = {}
            for operation, future in self._waiting:
                if not future.done():
                    slots.setdefault(operation.slot, []).append((operation, future))
            self._waiting = []
            await asyncio.gather(*map(self._call, slots.values()))
        self._sending = None

    async def _call(self, batch: Sequence[tuple[Operation, asyncio.Future[Taken]]]) -> None:
        try:
            keys, argument = written([operation for operation, _ in batch], lease=self._lease)
            results = read(await self._script(keys=keys, args=[argument]))
        except Exception as error:  # noqa: BLE001 - each caller gets it from its future
            for _, future in batch:
                if not future.done():
                    future.set_exception(self._failure(error))
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)

    def _failure(self, error: Exception) -> Exception:
        if not isinstance(error, RedisError | OSError):
            return error
        return UpstreamError(
            "Redis does not answer, and the limits are in it. Is it running, and is the"
            " setting gateway.limits.redis_url right?",
            code="limits_unavailable",
            detail=f"{masked(self._url)}: {words(error, self._url)}.",
        )


def _client(url: str, seconds: float, *, retries: int) -> Redis:
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=POOL_SECONDS,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        retry=Retry(NoBackoff(), retries, supported_errors=(LostConnectionError,)),
    )
    return Redis.from_pool(pool)
