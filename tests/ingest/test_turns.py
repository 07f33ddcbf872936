"""The order in which documents are read, and fairness between jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ingest.turns import Turns, reading_for

pytestmark = pytest.mark.anyio


class Room:
    """Documents that are read until they are ended; `begun` has the order of their start."""

    def __init__(self, places: int) -> None:
        self._turns = Turns(places)
        self._under_way: dict[str, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.begun: list[str] = []

    async def ask(self, *names: str, bulk: bool = False) -> None:
        """Queues documents, named by their job's letter and a number."""
        for name in names:
            with reading_for(name[0], bulk=bulk):
                self._tasks.append(asyncio.create_task(self._read(name)))
        await asyncio.sleep(0.01)

    async def _read(self, name: str) -> None:
        async with self._turns.taken():
            self.begun.append(name)
            self._under_way[name] = asyncio.Event()
            await self._under_way[name].wait()

    async def end(self, *names: str) -> None:
        for name in names:
            self._under_way.pop(name).set()
            await asyncio.sleep(0.01)

    async def cancel(self, name: int) -> None:
        self._tasks[name].cancel()
        await asyncio.sleep(0.01)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def room(places: int) -> AsyncIterator[Room]:
    made = Room(places)
    yield made
    await made.close()


async def test_a_job_with_many_documents_takes_turns_with_the_others() -> None:
    async with room(1) as here:
        await here.ask("a1", "a2", "a3", "a4")
        await here.ask("b1", "b2")
        await here.ask("c1")
        for n in range(6):
            await here.end(here.begun[n])
        assert here.begun == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]


async def test_what_somebody_waits_for_comes_before_bulk() -> None:
    async with room(1) as here:
        await here.ask("x1", "x2", bulk=True)
        await here.ask("a1", "a2")
        for n in range(3):
            await here.end(here.begun[n])
        assert here.begun == ["x1", "a1", "a2", "x2"]


async def test_bulk_documents_never_hold_the_last_reader() -> None:
    async with room(3) as here:
        await here.ask("x1", "x2", "y1", bulk=True)
        await here.ask("z1", bulk=True)
        assert here.begun == ["x1", "x2"]
        await here.ask("a1")
        assert here.begun == ["x1", "x2", "a1"]


async def test_no_job_holds_the_last_reader_beside_another_of_its_own() -> None:
    async with room(2) as here:
        await here.ask("a1", "a2")
        assert here.begun == ["a1"]
        await here.ask("b1", "b2")
        assert here.begun == ["a1", "b1"]
        await here.end("b1")
        assert here.begun == ["a1", "b1", "b2"]


async def test_who_gives_up_waiting_or_reading_takes_no_place() -> None:
    async with room(1) as here:
        await here.ask("a1", "a2", "a3", "a4")
        await here.cancel(1)
        await here.cancel(0)
        assert here.begun == ["a1", "a3"]
        await here.end("a3")
        assert here.begun == ["a1", "a3", "a4"]
