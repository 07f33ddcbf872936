"""Token buckets and permits on Redis, for several processes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Sequence

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import RedisError

from rag.errors import UpstreamError
from rag.gateway.buckets import Bucket, Permits, Taken
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
PREFIX = "plumbline:limits:"
_log = logging.getLogger(__name__)

# Times are those of Redis alone. `%.9f`: Lua would shorten numbers to 14 digits.
_COMMON = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local buckets, permits = tonumber(ARGV[1]), tonumber(ARGV[2])
local holder, lease = ARGV[3], tonumber(ARGV[4])

local function level_of(i)
  local rate, burst = tonumber(ARGV[3 * i + 3]), tonumber(ARGV[3 * i + 4])
  local state = redis.call('HMGET', KEYS[i], 'level', 'at')
  if not state[1] then return burst end
  local passed = math.max(0, now - tonumber(state[2]))
  return math.min(burst, tonumber(state[1]) + passed * rate)
end

local function set_level(i, level)
  local rate, burst = tonumber(ARGV[3 * i + 3]), tonumber(ARGV[3 * i + 4])
  redis.call('HSET', KEYS[i], 'level', string.format('%.9f', level),
             'at', string.format('%.6f', now))
  redis.call('PEXPIRE', KEYS[i], math.ceil(((burst - level) / rate + 1) * 1000))
end
"""
_TAKE = (
    _COMMON
    + """
local ok, levels, held = 1, {}, {}
for i = 1, buckets do
  levels[i] = level_of(i)
  if levels[i] < tonumber(ARGV[3 * i + 2]) then ok = 0 end
end
for j = 1, permits do
  local key = KEYS[buckets + j]
  redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.6f', now))
  held[j] = redis.call('ZCARD', key)
  if held[j] >= tonumber(ARGV[3 * buckets + 4 + j]) then ok = 0 end
end
if ok == 1 then
  for i = 1, buckets do
    levels[i] = levels[i] - tonumber(ARGV[3 * i + 2])
    set_level(i, levels[i])
  end
  for j = 1, permits do
    local key = KEYS[buckets + j]
    redis.call('ZADD', key, string.format('%.6f', now + lease), holder)
    redis.call('PEXPIRE', key, math.ceil(lease * 1000))
  end
end
for i = 1, buckets do levels[i] = string.format('%.9f', levels[i]) end
return {ok, levels, held}
"""
)
_GIVE = (
    _COMMON
    + """
for i = 1, buckets do
  local burst = tonumber(ARGV[3 * i + 4])
  set_level(i, math.min(burst, level_of(i) + tonumber(ARGV[3 * i + 2])))
end
"""
)
_RENEW = (
    _COMMON
    + """
for j = 1, permits do
  redis.call('ZADD', KEYS[j], 'XX', string.format('%.6f', now + lease), holder)
  redis.call('PEXPIRE', KEYS[j], math.ceil(lease * 1000))
end
"""
)


class RedisStore:
    """`LimitStore` on Redis: each call is one script, which Redis runs alone.

    A permit is a lease, renewed while its request runs: if the process dies, it expires.
    """

    def __init__(
        self, url: str, *, lease_seconds: float = LEASE_SECONDS, call_seconds: float = CALL_SECONDS
    ) -> None:
        """Makes a store; nothing is connected yet. A call may take `call_seconds`."""
        self._url = url
        self._lease = lease_seconds
        # A call is repeated once on a lost connection. If the first one had reached Redis, the
        # request is charged twice; it never gets more than its limit.
        self._redis = _client(url, call_seconds, retries=1)
        self._once = _client(url, call_seconds, retries=0)
        self._take = self._redis.register_script(_TAKE)
        self._give = self._once.register_script(_GIVE)
        self._renew = self._redis.register_script(_RENEW)
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
        keys = [bucket.key for bucket, _ in amounts] + [each.key for each in permits]
        arguments = self._arguments(amounts, permits, holder)
        arguments += [each.at_once for each in permits]
        with self._errors():
            ok, levels, held = await self._take(keys=[PREFIX + key for key in keys], args=arguments)
        if ok and permits:
            self._leases[holder] = tuple(permits)
            if self._renewing is None:
                self._renewing = asyncio.create_task(self._renew_leases())
        return Taken(bool(ok), tuple(map(float, levels)), tuple(map(int, held)))

    async def give(self, amounts: Sequence[tuple[Bucket, float]]) -> None:
        """Adds to buckets, up to their `burst`; never twice."""
        with self._errors():
            await self._give(
                keys=[PREFIX + bucket.key for bucket, _ in amounts],
                args=self._arguments(amounts, (), ""),
            )

    async def release(self, permits: Sequence[Permits], *, holder: str) -> None:
        """Releases the permits of a holder."""
        self._leases.pop(holder, None)
        with self._errors():
            async with self._redis.pipeline(transaction=False) as pipe:
                for each in permits:
                    pipe.zrem(PREFIX + each.key, holder)
                await pipe.execute()

    async def close(self) -> None:
        """Closes the connections; permits that are still held expire."""
        if self._renewing:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        await self._redis.aclose()
        await self._once.aclose()

    def _arguments(
        self,
        amounts: Sequence[tuple[Bucket, float]],
        permits: Sequence[Permits],
        holder: str,
    ) -> list[str | float]:
        head: list[str | float] = [len(amounts), len(permits), holder, self._lease]
        for bucket, amount in amounts:
            head += [amount, repr(bucket.rate), bucket.burst]
        return head

    async def _renew_leases(self) -> None:
        while True:
            await asyncio.sleep(self._lease / RENEWALS)
            for holder, permits in list(self._leases.items()):
                if holder not in self._leases:  # released meanwhile
                    continue
                try:
                    with self._errors():
                        await self._renew(
                            keys=[PREFIX + each.key for each in permits],
                            args=self._arguments((), permits, holder),
                        )
                except UpstreamError as error:
                    _log.warning("Permits are not renewed: %s", error.in_full())
                    break

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            raise UpstreamError(
                "Redis does not answer, and the limits are in it. Is it running, and is the"
                " setting gateway.limits.redis_url right?",
                code="limits_unavailable",
                detail=f"{masked(self._url)}: {words(error, self._url)}.",
            ) from None


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
