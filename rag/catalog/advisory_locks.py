"""PostgreSQL's advisory locks, all held by one connection of this process.

They end with the process, however it ends. Where that connection is lost they are, too: they are
taken again at once, on another.
"""

from __future__ import annotations

import asyncio
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

POLL_SECONDS = 0.05
_LOCK = sa.text("SELECT pg_try_advisory_lock(:number)")
_UNLOCK = sa.text("SELECT pg_advisory_unlock(:number)")


class AdvisoryLocks:
    """Locks by number. Of an instance each number is asked for by one caller at a time.

    Its methods raise what the driver raises where the server cannot be reached.
    """

    def __init__(self, engine: AsyncEngine, *, vendor: tuple[type[Exception], ...]) -> None:
        """Connects to nothing yet; `vendor` is what the engine may raise."""
        self._engine = engine
        self._vendor = vendor
        self._session: AsyncConnection | None = None
        self._driver: Any = None
        """The driver's own connection, of the session."""
        self._speaking = asyncio.Lock()
        self._held: set[int] = set()
        self._again: asyncio.Task[None] | None = None

    async def take(self, number: int) -> bool:
        """Takes a lock; False where another process has it."""
        async with self._speaking:
            try:
                taken = await self._ask(_LOCK, number)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                taken = await self._ask(_LOCK, number)
            if taken:
                self._held.add(number)
            return taken

    async def give_back(self, number: int) -> None:
        """Gives a lock back; where the connection is lost, it is not taken again."""
        self._held.discard(number)
        async with self._speaking:
            await self._ask(_UNLOCK, number)

    async def close(self) -> None:
        """Gives all back."""
        self._held.clear()
        if self._again is not None:
            self._again.cancel()
            await asyncio.gather(self._again, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _ask(self, query: sa.TextClause, number: int) -> bool:
        session = self._session
        if session is None or session.invalidated:
            session = await self._connect()
        try:
            return bool(await session.scalar(query, {"number": number}))
        except DBAPIError:
            await session.invalidate()
            raise

    async def _connect(self) -> AsyncConnection:
        """Opens a session that holds what the one before held, but for what others took since."""
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
            self._again = asyncio.get_running_loop().create_task(self._take_again(driver))

    async def _take_again(self, lost: Any) -> None:
        """Until then another process could take what is held here for the work of a dead one."""
        while self._held:
            async with self._speaking:
                if self._driver is not lost:  # whoever asked first has connected
                    return
                try:
                    await self._connect()
                except self._vendor:
                    """The server is away: who asks it for anything is told."""
            await asyncio.sleep(POLL_SECONDS)
