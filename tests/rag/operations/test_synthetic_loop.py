"""One process of many runs the synthetic canary: processes are databases of one server here."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from rag.catalog.database import PostgresDatabase
from rag.operations.synthetic import loop
from rag.operations.synthetic.phrase import age_of, new_phrase
from tests.postgres import PostgresServer
from tests.waiting import until

pytestmark = pytest.mark.anyio
INTERVAL = 0.2


async def test_one_process_runs_it_and_another_takes_it_over_from_a_dead_one(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LOOK_SECONDS", 0.05)
    url = postgres.new_database()
    ran: list[str] = []
    working = 0

    async def work(name: str) -> None:
        nonlocal working
        working += 1
        assert working == 1, "two processes run it at the same time"
        ran.append(name)
        try:
            await asyncio.sleep(INTERVAL / 4)
        finally:
            working -= 1

    databases = {name: PostgresDatabase(url) for name in "ab"}
    processes = {
        name: asyncio.create_task(
            loop.repeat(
                partial(work, name),
                alone=partial(database.alone, loop.LOCK, wait=False),
                seconds=INTERVAL,
            )
        )
        for name, database in databases.items()
    }
    began = asyncio.get_running_loop().time()
    await until(lambda: len(ran) >= 4)
    # An interval lies between any two runs, whoever makes them.
    assert asyncio.get_running_loop().time() - began >= 2.9 * INTERVAL
    holder = ran[-1]
    other = "b" if holder == "a" else "a"
    processes[holder].cancel()
    await asyncio.gather(processes[holder], return_exceptions=True)
    await databases[holder].close()
    done = len(ran)
    await until(lambda: len(ran) >= done + 2)
    assert set(ran[done:]) == {other}
    processes[other].cancel()
    await asyncio.gather(*processes.values(), return_exceptions=True)
    await databases[other].close()


def test_a_phrase_s_id_tells_when_it_was_made() -> None:
    phrase = new_phrase()
    age = age_of(phrase.id)
    assert age is not None
    assert -1 < age < 60
    assert phrase.answer in phrase.text
    assert phrase.answer not in phrase.question
    assert age_of("handbook.md") is None
