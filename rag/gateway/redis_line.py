"""A connection to Redis on which one script is run."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import NoScriptError, ResponseError

Call = tuple[Sequence[str], str]
"""The keys of a run of the script, and its argument."""


class RedisLine:
    """Runs a script, several times in one round trip. One task uses it at a time.

    It takes a connection without the client around it: what that does for each command (the pool,
    retries, hooks) costs this process as much as the command.
    """

    def __init__(self, url: str, script: str, *, seconds: float, retries: int) -> None:
        """Makes it; nothing is connected yet.

        Args:
            url: of Redis.
            script: in Lua.
            seconds: time limit of a round trip, and of connecting before it.
            retries: how often calls are repeated whose connection was lost.
        """
        self._script = script
        self._digest = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        self._seconds, self._retries = seconds, retries
        # Not a pool in use: it knows what the URL says, and whether a connection still stands.
        self._pool = ConnectionPool.from_url(
            url,
            # With 3, its default, redis-py 8 takes a connection that Redis closed for a good one;
            # and Redis 5 does not know it.
            protocol=2,
            socket_timeout=None,  # with one, each command is a task
            socket_connect_timeout=seconds,
            retry=Retry(NoBackoff(), 0),
        )
        self._connection = self._pool.make_connection()  # type: ignore[no-untyped-call]

    async def run(self, calls: Sequence[Call]) -> list[bytes | ResponseError]:
        """Returns the result of each call, or the error by which Redis refused it.

        Raises:
            RedisError, TimeoutError: Redis does not answer. It is not known which calls were
                carried out.
        """
        for _ in range(self._retries):
            try:
                return await self._run(calls)
            except LostConnectionError:
                continue
        return await self._run(calls)

    async def close(self) -> None:
        """Closes the connection."""
        await self._connection.disconnect()

    async def _run(self, calls: Sequence[Call]) -> list[bytes | ResponseError]:
        try:
            async with asyncio.timeout(self._seconds):
                await self._pool.ensure_connection(self._connection)
                found = await self._sent(calls)
                unknown = [n for n, each in enumerate(found) if isinstance(each, NoScriptError)]
                if unknown:  # those were not carried out
                    await self._connection.send_command("SCRIPT", "LOAD", self._script)
                    await self._connection.read_response()
                    again = await self._sent([calls[n] for n in unknown])
                    for n, each in zip(unknown, again, strict=True):
                        found[n] = each
                return found
        except BaseException:
            await self._connection.disconnect(nowait=True)  # results to come are of other calls
            raise

    async def _sent(self, calls: Sequence[Call]) -> list[bytes | ResponseError]:
        commands = [("EVALSHA", self._digest, len(keys), *keys, value) for keys, value in calls]
        await self._connection.send_packed_command(self._connection.pack_commands(commands))
        return [await self._result() for _ in calls]

    async def _result(self) -> bytes | ResponseError:
        try:
            found: bytes = await self._connection.read_response(disconnect_on_error=False)
        except ResponseError as error:
            return error
        return found
