"""Entries in Redis, for all processes."""

from __future__ import annotations

import math
from typing import Any, cast

from rag.process.redis_calls import CALL_SECONDS, RedisCalls

_PREFIX = "plumbline:answers:"


class RedisStore:
    """`AnswerStore` on Redis."""

    def __init__(self, url: str, *, seconds: float, call_seconds: float = CALL_SECONDS) -> None:
        """Makes a store; nothing is connected yet.

        Args:
            url: The server's address.
            seconds: The time to live; that of a list begins with its first item.
            call_seconds: The time limit of a call.
        """
        self._milliseconds = math.ceil(seconds * 1000)
        self.calls = RedisCalls(
            url,
            setting="answer_cache.url",
            code="answer_cache_unavailable",
            holds="earlier answers",
            seconds=call_seconds,
        )
        self._redis = self.calls.redis

    async def get(self, key: str) -> bytes | None:
        """Returns the bytes of a key; None if there are none."""
        async with self.calls.calling():
            found: Any = await self._redis.get(_PREFIX + key)
            return cast("bytes | None", found)

    async def put(self, key: str, value: bytes) -> None:
        """Keeps bytes under a key, in place of earlier ones."""
        async with self.calls.calling():
            await self._redis.set(_PREFIX + key, value, px=self._milliseconds)

    async def append(self, key: str, item: bytes, *, most: int) -> None:
        """Appends an item to a list, unless it has so many; a few more if several do at once."""
        name = _PREFIX + key
        async with self.calls.calling():
            count = await self._redis.llen(name)
            if count < most:
                async with self._redis.pipeline(transaction=True) as calls:
                    calls.rpush(name, item)
                    if not count:
                        calls.pexpire(name, self._milliseconds)
                    await calls.execute()

    async def items(self, key: str, *, start: int) -> list[bytes]:
        """Returns the items of a list from this place on."""
        async with self.calls.calling():
            found: Any = await self._redis.lrange(_PREFIX + key, start, -1)
            return cast("list[bytes]", found)

    async def close(self) -> None:
        """Closes the connections."""
        await self.calls.close()
