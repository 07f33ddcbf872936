from __future__ import annotations

import asyncio

import pytest

from rag.errors import UpstreamError
from rag.telemetry import conditions
from rag.telemetry.conditions import Condition, Dependency, Health, overall

pytestmark = pytest.mark.anyio


class Thing:
    """Something that a service depends on; it is up until `wrong` is set."""

    def __init__(self) -> None:
        self.asked = 0
        self.wrong: Exception | None = None

    async def ask(self) -> None:
        self.asked += 1
        if self.wrong:
            raise self.wrong


def one(thing: Thing, *, needed: bool = False) -> Dependency:
    return Dependency(name="thing", ask=thing.ask, needed=needed)


async def look(found: Health) -> Condition:
    (condition,) = await found.look()
    return condition


async def test_many_that_look_ask_once(monkeypatch: pytest.MonkeyPatch) -> None:
    thing = Thing()
    found = Health([one(thing)])
    await asyncio.gather(*(found.look() for _ in range(20)))
    assert thing.asked == 1
    monkeypatch.setattr(conditions, "FRESH_SECONDS", 0.0)
    await found.look()
    assert thing.asked == 2


async def test_the_last_error_stays_when_it_is_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "FRESH_SECONDS", 0.0)
    thing = Thing()
    found = Health([one(thing)])
    before = await look(found)
    assert (before.state, before.last_error) == ("up", None)
    thing.wrong = UpstreamError("It is away.", detail="postgresql://secret@host")
    during = await look(found)
    assert during.state == "down"
    assert during.last_error is not None
    assert during.last_error.message == "It is away."
    thing.wrong = None
    after = await look(found)
    assert (after.state, after.last_error) == ("up", during.last_error)


async def test_what_is_unexpected_is_told_without_its_words() -> None:
    thing = Thing()
    thing.wrong = ValueError("the secret")
    told = (await look(Health([one(thing)]))).last_error
    assert told is not None
    assert told.message == "It failed: ValueError."


async def test_what_does_not_answer_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "ASK_SECONDS", 0.02)
    thing = Thing()
    slow = Dependency(name="slow", ask=lambda: asyncio.sleep(60))
    found = await Health([slow, one(thing)]).look()
    assert [each.state for each in found] == ["down", "up"]
    assert found[0].last_error is not None
    assert found[0].last_error.message == "It did not answer within 0.02 s."


async def test_what_is_needed_makes_the_whole_down() -> None:
    thing, other = Thing(), Thing()
    assert overall(await Health([one(thing), one(other, needed=True)]).look()) == "ok"
    thing.wrong = UpstreamError("away")
    assert overall(await Health([one(thing), one(other, needed=True)]).look()) == "degraded"
    other.wrong = UpstreamError("away")
    assert overall(await Health([one(thing), one(other, needed=True)]).look()) == "down"
