"""PostgreSQL's advisory locks, all held by one connection of this process.

They end with the process, however it ends. If the connection is lost, the locks are lost, too; they
are taken again at once on a new connection.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

POLL_SECONDS = 0.05
_LOCK = sa.text("SELECT pg_try_advisory_lock(:number)")
_UNLOCK = sa.text("SELECT pg_advisory_unlock(:number)")


class AdvisoryLocks:
    """Locks by number. At most one caller of an instance may ask for a number at a time.

    If the server cannot be reached, the methods raise the driver's own exceptions.
    """

    def __init__(self, engine: AsyncEngine, *, vendor: tuple[type[Exception], ...]) -> None:
        """Makes the object without connecting; `vendor` lists what the engine may raise."""
        self._engine = engine
        self._vendor = vendor
        self._session: AsyncConnection | None = None
        self._driver: Any = None
        """The driver's connection of the session."""
        self._speaking = asyncio.Lock()
        self._held: set[int] = set()
        self._reacquiring: asyncio.Task[None] | None = None

    async def take(self, number: int) -> bool:
        """Takes a lock; returns False if another process has it."""
        async with self._speaking:
            try:
                taken = await self._query(_LOCK, number)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                taken = await self._query(_LOCK, number)
            if taken:
                self._held.add(number)
            return taken

    async def give_back(self, number: int) -> None:
        """Releases a lock; after this, a lost connection does not take it again."""
        self._held.discard(number)
        async with self._speaking:
            await self._query(_UNLOCK, number)

    async def close(self) -> None:
        """Releases all locks."""
        self._held.clear()
        if self._reacquiring is not None:
            self._reacquiring.cancel()
            await asyncio.gather(self._reacquiring, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _query(self, query: sa.TextClause, number: int) -> bool:
        session = self._session
        if session is None or session.invalidated:
            session = await self._connect()
        try:
            return bool(await session.scalar(query, {"number": number}))
        except DBAPIError:
            await session.invalidate()
            raise

    async def _connect(self) -> AsyncConnection:
        """Opens a session and takes the held locks again, except those taken by others since."""
        if self._session is not None:
            await self._session.invalidate()
        self._session = session = await self._engine.connect()
        self._driver = (await session.get_raw_connection()).driver_connection
        self._driver.add_termination_listener(self._on_lost)
        try:
            for number in tuple(self._held):
                await session.scalar(_LOCK, {"number": number})
        except BaseException:
            await session.invalidate()  # it holds a part alone: the next one asks for all
            raise
        return session

    def _on_lost(self, driver: Any) -> None:
        if driver is self._driver and self._held:
            self._reacquiring = asyncio.get_running_loop().create_task(self._reacquire(driver))

    async def _reacquire(self, lost: Any) -> None:
        """Takes the held locks again; until then another process may take them as a dead one's."""
        while self._held:
            async with self._speaking:
                if self._driver is not lost:  # another caller has connected already
                    return
                try:
                    await self._connect()
                except self._vendor:
                    """The server is away: callers that ask it for anything get the error."""
            await asyncio.sleep(POLL_SECONDS)
