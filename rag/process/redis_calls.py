"""Calls of a Redis that a process can do without: short, and none while it is away."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import OutOfMemoryError, RedisError

from rag.errors import UpstreamError
from rag.privacy.redaction import masked, words
from rag.process.circuit_breaker import Breaker

CALL_SECONDS = 0.25
"""Time limit of a call: what it saves would take as long."""
PAUSE_SECONDS = 0.5
"""Seconds between calls of a Redis that is away: it is used again within a second of its return."""
CONNECTIONS = 16
"""Connections of a process; a call takes a fraction of a millisecond."""


class RedisCalls:
    """A client whose failures are UpstreamErrors. After a few in a row, few calls are made.

    `redis` is the client; its commands belong into `calling`.
    """

    def __init__(
        self, url: str, *, setting: str, code: str, holds: str, seconds: float = CALL_SECONDS
    ) -> None:
        """Makes a client; nothing is connected yet.

        Args:
            url: The server's address.
            setting: The name of the setting that has it.
            code: That of the errors.
            holds: What it holds, in the plural, for messages.
            seconds: The time limit of a call.
        """
        self._url = url
        self._setting = setting
        self._code = code
        self._holds = holds
        self._breaker = Breaker(pause_seconds=PAUSE_SECONDS)
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=seconds,
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            # Once more, at once: the server may have closed a connection that was idle.
            retry=Retry(NoBackoff(), 1, supported_errors=(LostConnectionError,)),
        )
        self.redis = Redis.from_pool(pool)

    @contextlib.asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """Turns the failures of the calls in the block into an UpstreamError, and counts them.

        A Redis that is full answers, and is still read: that it keeps nothing more is not counted.
        """
        if not self._breaker.allows():
            raise UpstreamError(
                f"Redis does not answer, and is asked again in {self._breaker.seconds_left():.1f}"
                " s.",
                code=self._code,
            )
        try:
            yield
        except (RedisError, OSError) as error:
            if not isinstance(error, OutOfMemoryError):
                self._breaker.failed()
            raise UpstreamError(
                f"Redis does not answer as it should, and {self._holds} are in it. Is it running,"
                f" has it room, and is the setting {self._setting} right?",
                code=self._code,
                detail=f"{masked(self._url)}: {words(error, self._url)}.",
            ) from None
        self._breaker.succeeded()

    async def close(self) -> None:
        """Closes the connections."""
        await self.redis.aclose()
