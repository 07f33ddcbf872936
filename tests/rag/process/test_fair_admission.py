from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.errors import BusyError
from rag.process.fair_admission import FairAdmission, Lane, Turns

pytestmark = pytest.mark.anyio
LANE: dict[str, Any] = {"weight": 1.0, "at_once": 99, "waiting": 99, "seconds": 60.0}


def admission(
    most: int, *, weights: dict[str, float] | None = None, **lanes: dict[str, Any]
) -> FairAdmission:
    made = {name: Lane(**(LANE | values)) for name, values in lanes.items()}
    return FairAdmission(most, made, weights=weights or {}, setting="limits.questions")


class Busy:
    """Questions that hold their places until they are told to end; `begun` has their order."""

    def __init__(self, bound: FairAdmission) -> None:
        self.bound = bound
        self.begun: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.ends: list[asyncio.Event] = []

    async def ask(self, name: str, lane: str, tenant: str = "t") -> asyncio.Task[None]:
        """Asks, and returns when the question has its place or waits for one."""
        end = asyncio.Event()

        async def question() -> None:
            async with self.bound.take(lane, tenant):
                self.begun.append(name)
                self.ends.append(end)
                await end.wait()

        task = asyncio.create_task(question())
        self.tasks.append(task)
        await asyncio.sleep(0)
        return task

    async def end_one(self) -> None:
        """Ends the question that began first, and lets the next one begin."""
        self.ends.pop(0).set()
        for _ in range(5):
            await asyncio.sleep(0)

    async def end_all(self) -> None:
        while self.ends:
            await self.end_one()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_a_free_place_is_taken_at_once() -> None:
    bound = admission(2, standard={})
    async with bound.take("standard", "a") as waited, bound.take("standard", "a") as other:
        assert (waited, other) == (0, 0)


async def test_one_more_waits_until_a_place_is_free_and_knows_how_long() -> None:
    bound = admission(1, standard={})

    async def second() -> float:
        async with bound.take("standard", "a") as waited:
            return waited

    async with bound.take("standard", "a"):
        task = asyncio.create_task(second())
        await asyncio.sleep(0.01)
        assert not task.done()
    assert await task > 0


async def test_too_many_that_wait_are_refused_and_told_why() -> None:
    bound = admission(1, standard={"waiting": 1})
    busy = Busy(bound)
    await busy.ask("1", "standard")
    await busy.ask("2", "standard")
    with pytest.raises(BusyError, match=r"1 questions are under way.*1 of the class standard wait"):
        async with bound.take("standard", "a"):
            pass
    await busy.end_all()
    assert busy.begun == ["1", "2"]


@pytest.mark.parametrize("limits", [{"seconds": 0.0}, {"waiting": 0}])
async def test_a_class_that_does_not_wait_is_refused_at_once(limits: dict[str, Any]) -> None:
    bound = admission(1, standard=limits)
    async with bound.take("standard", "a"):
        with pytest.raises(BusyError, match=r"limits\.questions"):
            async with bound.take("standard", "a"):
                pass


async def test_a_wait_ends_and_the_place_goes_to_the_next() -> None:
    bound = admission(1, short={"seconds": 0.01}, long={})
    busy = Busy(bound)
    await busy.ask("1", "long")
    with pytest.raises(BusyError, match="class short"):
        async with bound.take("short", "a"):
            pass
    await busy.ask("2", "long")
    await busy.end_all()
    assert busy.begun == ["1", "2"]
    async with bound.take("short", "a"):
        pass


async def test_what_waits_may_be_cancelled_at_any_moment() -> None:
    bound = admission(1, standard={})
    busy = Busy(bound)
    await busy.ask("1", "standard")
    gone = await busy.ask("2", "standard")
    await busy.ask("3", "standard")
    gone.cancel()
    await busy.end_one()
    assert busy.begun == ["1", "3"]
    # Its turn comes at the same moment: the place is passed on.
    also_gone = await busy.ask("4", "standard")
    await busy.ask("5", "standard")
    busy.ends.pop(0).set()
    await asyncio.sleep(0)
    also_gone.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert busy.begun[-1] == "5"
    await busy.end_all()
    async with bound.take("standard", "a") as waited:
        assert not waited


async def test_a_place_gets_free_while_the_only_one_that_waits_is_cancelled() -> None:
    bound = admission(1, standard={})
    busy = Busy(bound)
    first = await busy.ask("1", "standard")
    gone = await busy.ask("2", "standard")
    first.cancel()  # ends first, when the second one has not noticed yet
    gone.cancel()
    late = asyncio.create_task(bound.take("standard", "a").__aenter__())
    outcomes = await asyncio.gather(first, gone, return_exceptions=True)
    assert [type(each) for each in outcomes] == [asyncio.CancelledError] * 2
    async with asyncio.timeout(1):
        await late


async def test_what_gave_up_costs_its_tenant_no_turn() -> None:
    busy = Busy(admission(1, standard={}))
    await busy.ask("0", "standard")
    for i in range(10):
        await busy.ask(f"other{i}", "standard", "other")
    for i in range(30):
        gone = await busy.ask(f"flood{i}", "standard", "flood")
        if i < 20:
            gone.cancel()
    for _ in range(6):
        await busy.end_one()
    counts = Counter(name.rstrip("0123456789") for name in busy.begun[1:])
    assert counts == {"flood": 3, "other": 3}
    await busy.end_all()


async def test_a_class_has_places_of_its_own_number_at_most() -> None:
    busy = Busy(admission(3, interactive={}, batch={"at_once": 1}))
    for name in ("b1", "b2", "b3"):
        await busy.ask(name, "batch")
    await busy.ask("i1", "interactive")
    assert busy.begun == ["b1", "i1"]
    await busy.end_all()
    assert Counter(busy.begun) == Counter(["b1", "b2", "b3", "i1"])


async def test_classes_get_places_by_their_weights() -> None:
    busy = Busy(admission(1, interactive={"weight": 4.0}, batch={"weight": 1.0}))
    await busy.ask("first", "batch")
    for i in range(40):
        await busy.ask(f"i{i}", "interactive")
        await busy.ask(f"b{i}", "batch")
    for _ in range(25):
        await busy.end_one()
    counts = Counter(name[0] for name in busy.begun[1:])
    assert counts == {"i": 20, "b": 5}
    await busy.end_all()


async def test_within_a_class_tenants_take_turns_by_their_weights() -> None:
    busy = Busy(admission(1, weights={"big": 2.0}, standard={}))
    await busy.ask("0", "standard")
    for i in range(30):
        await busy.ask(f"flood{i}", "standard", "flood")
    for i in range(20):
        await busy.ask(f"big{i}", "standard", "big")
    await busy.ask("small", "standard", "small")
    for _ in range(5):
        await busy.end_one()
    assert "small" in busy.begun, "one that comes last does not wait for the others' floods"
    for _ in range(10):
        await busy.end_one()
    counts = Counter(name.rstrip("0123456789") for name in busy.begun[1:])
    assert 1.5 <= counts["big"] / counts["flood"] <= 2.5
    await busy.end_all()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers()), min_size=1))
async def test_turns_lose_nothing_and_keep_an_owner_s_order(items: list[tuple[str, int]]) -> None:
    turns: Turns[tuple[str, int, int]] = Turns()
    for place, (owner, value) in enumerate(items):
        turns.put(owner, (owner, place, value))
    out = [turns.next() for _ in items]
    assert sorted(out) == sorted((owner, place, v) for place, (owner, v) in enumerate(items))
    for owner in "abc":
        places = [place for name, place, _ in out if name == owner]
        assert places == sorted(places)


async def test_many_at_once_never_exceed_the_bound() -> None:
    bound = admission(3, interactive={"at_once": 2}, batch={"seconds": 0.05})
    under_way, most, ended = 0, 0, Counter[str]()

    async def one(i: int) -> None:
        nonlocal under_way, most
        lane = ("interactive", "batch")[i % 2]
        with contextlib.suppress(BusyError):
            async with bound.take(lane, f"t{i % 5}"):
                under_way += 1
                most = max(most, under_way)
                await asyncio.sleep(0.001 * (i % 3))
                under_way -= 1
                ended[lane] += 1

    await asyncio.gather(*map(one, range(100)))
    assert most == 3
    assert ended["interactive"] == 50
    async with bound.take("batch", "a") as waited:
        assert not waited
