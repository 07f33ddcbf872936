"""Entries in Redis, for all processes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator
from typing import Any, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import RedisError

from generation.circuit_breaker import Breaker
from rag.errors import UpstreamError
from rag.privacy.redaction import masked, words

CALL_SECONDS = 0.25
"""Time limit of a call: making an answer anew may take as long."""
CONNECTIONS = 16
"""Connections of a process; a call takes a fraction of a millisecond."""
_PREFIX = "plumbline:answers:"


class RedisStore:
    """`AnswerStore` on Redis. If calls fail again and again, none is made for a while."""

    def __init__(self, url: str, *, seconds: float, call_seconds: float = CALL_SECONDS) -> None:
        """Makes a store; nothing is connected yet.

        Args:
            url: The server's address.
            seconds: The time to live; that of a list begins with its first item.
            call_seconds: The time limit of a call.
        """
        self._url = url
        self._milliseconds = math.ceil(seconds * 1000)
        self._breaker = Breaker()
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=call_seconds,
            socket_timeout=call_seconds,
            socket_connect_timeout=call_seconds,
            # Once more, at once: the server may have closed a connection that was idle.
            retry=Retry(NoBackoff(), 1, supported_errors=(LostConnectionError,)),
        )
        self._redis = Redis.from_pool(pool)

    async def get(self, key: str) -> bytes | None:
        """Returns the bytes of a key; None if there are none."""
        async with self._calling():
            found: Any = await self._redis.get(_PREFIX + key)
            return cast("bytes | None", found)

    async def put(self, key: str, value: bytes) -> None:
        """Keeps bytes under a key, in place of earlier ones."""
        async with self._calling():
            await self._redis.set(_PREFIX + key, value, px=self._milliseconds)

    async def append(self, key: str, item: bytes, *, most: int) -> None:
        """Appends an item to a list, unless it has so many; a few more if several do at once."""
        name = _PREFIX + key
        async with self._calling():
            count = await self._redis.llen(name)
            if count < most:
                async with self._redis.pipeline(transaction=True) as calls:
                    calls.rpush(name, item)
                    if not count:
                        calls.pexpire(name, self._milliseconds)
                    await calls.execute()

    async def items(self, key: str, *, start: int) -> list[bytes]:
        """Returns the items of a list from this place on."""
        async with self._calling():
            found: Any = await self._redis.lrange(_PREFIX + key, start, -1)
            return cast("list[bytes]", found)

    async def close(self) -> None:
        """Closes the connections."""
        await self._redis.aclose()

    @contextlib.asynccontextmanager
    async def _calling(self) -> AsyncIterator[None]:
        """Turns the failures of a call into an UpstreamError, and counts them."""
        if not self._breaker.allows():
            raise UpstreamError(
                f"Redis does not answer, and is asked again in {self._breaker.seconds_left():.0f}"
                " s.",
                code="answer_cache_unavailable",
            )
        try:
            yield
        except (RedisError, OSError) as error:
            self._breaker.failed()
            raise UpstreamError(
                "Redis does not answer as it should, and earlier answers are in it. Is it running,"
                " has it room, and is the setting answer_cache.url right?",
                code="answer_cache_unavailable",
                detail=f"{masked(self._url)}: {words(error, self._url)}.",
            ) from None
        self._breaker.succeeded()
