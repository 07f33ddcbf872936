from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from rag.errors import BusyError
from rag.inference.batching import Batcher

pytestmark = pytest.mark.anyio


class Model:
    """Upper-cases items; batches wait until `gate` is set."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.started = threading.Event()
        self.gate = threading.Event()

    async def run(self, items: list[str]) -> list[str]:
        self.batches.append(items)
        self.started.set()
        assert await asyncio.to_thread(self.gate.wait, 10)
        if "bad" in items:
            raise ValueError("bad item")
        return [item.upper() for item in items]


@pytest.fixture
def model() -> Iterator[Model]:
    made = Model()
    yield made
    made.gate.set()


@pytest.fixture
def batcher(model: Model) -> Batcher[str, str]:
    return Batcher(
        model.run, at_once=1, cost=len, max_cost=6, max_bulk_cost=9, max_waiting=8, name="shouter"
    )


async def occupy(batcher: Batcher[str, str], model: Model) -> asyncio.Task[list[str]]:
    """Keeps the model busy with a separate item until the gate opens."""
    task = asyncio.create_task(batcher.submit(["-"]))
    assert await asyncio.to_thread(model.started.wait, 10)
    return task


def submit(batcher: Batcher[str, str], *items: str, bulk: bool = False) -> asyncio.Task[list[str]]:
    return asyncio.create_task(batcher.submit(items, bulk=bulk))


async def test_results_come_in_the_order_of_the_items(
    batcher: Batcher[str, str], model: Model
) -> None:
    model.gate.set()
    assert await batcher.submit(["c", "a", "b"]) == ["C", "A", "B"]
    assert await batcher.submit([]) == []


async def test_callers_that_wait_at_once_share_one_batch(
    batcher: Batcher[str, str], model: Model
) -> None:
    first = await occupy(batcher, model)
    others = [submit(batcher, "a"), submit(batcher, "b", "c"), submit(batcher, "d")]
    await asyncio.sleep(0)
    model.gate.set()
    assert await asyncio.gather(first, *others) == [["-"], ["A"], ["B", "C"], ["D"]]
    assert model.batches == [["-"], ["a", "b", "c", "d"]]


async def test_a_lone_item_does_not_wait_for_company(
    batcher: Batcher[str, str], model: Model
) -> None:
    model.gate.set()
    await batcher.submit(["a"])
    await batcher.submit(["b"])
    assert model.batches == [["a"], ["b"]]


async def test_a_batch_stays_within_its_cost_and_an_item_over_it_runs_alone(
    batcher: Batcher[str, str], model: Model
) -> None:
    first = await occupy(batcher, model)
    task = submit(batcher, "aaa", "bbb", "c", "dddddddd", "e")
    await asyncio.sleep(0)
    model.gate.set()
    await asyncio.gather(first, task)
    assert model.batches[1:] == [["aaa", "bbb"], ["c"], ["dddddddd"], ["e"]]


async def test_bulk_items_alone_fill_larger_batches(
    batcher: Batcher[str, str], model: Model
) -> None:
    first = await occupy(batcher, model)
    bulk = submit(batcher, "aaa", "bbb", "ccc", "ddd", bulk=True)
    await asyncio.sleep(0)
    model.gate.set()
    await asyncio.gather(first, bulk)
    assert model.batches[1:] == [["aaa", "bbb", "ccc"], ["ddd"]]


async def test_interactive_items_go_before_bulk_ones(
    batcher: Batcher[str, str], model: Model
) -> None:
    first = await occupy(batcher, model)
    tasks = [submit(batcher, "bulk1", bulk=True), submit(batcher, "bulk2", bulk=True)]
    await asyncio.sleep(0)
    tasks.append(submit(batcher, "now"))
    await asyncio.sleep(0)
    model.gate.set()
    await asyncio.gather(first, *tasks)
    assert model.batches[1:] == [["now"], ["bulk1"], ["bulk2"]]


async def test_a_full_queue_refuses_interactive_items_and_takes_bulk_ones(
    batcher: Batcher[str, str], model: Model
) -> None:
    first = await occupy(batcher, model)
    waiting = submit(batcher, *"12345678")
    await asyncio.sleep(0)
    with pytest.raises(BusyError, match="shouter is busy: 8 texts are waiting"):
        await batcher.submit(["one too many"])
    bulk = submit(batcher, *"123456789", bulk=True)
    model.gate.set()
    await asyncio.gather(first, waiting, bulk)
    assert await batcher.submit(["after"]) == ["AFTER"]


async def test_items_of_a_cancelled_caller_are_never_run(
    batcher: Batcher[str, str], model: Model
) -> None:
    first = await occupy(batcher, model)
    gone, stays = submit(batcher, "gone"), submit(batcher, "stays")
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    model.gate.set()
    await first
    assert await stays == ["STAYS"]
    assert model.batches == [["-"], ["stays"]]


async def test_cancelling_the_caller_whose_batch_runs_harms_nobody_else(
    batcher: Batcher[str, str], model: Model
) -> None:
    first = await occupy(batcher, model)
    other = submit(batcher, "other")
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    model.gate.set()
    assert await other == ["OTHER"]


async def test_an_error_reaches_every_caller_of_its_batch_and_the_next_one_works(
    batcher: Batcher[str, str], model: Model
) -> None:
    first = await occupy(batcher, model)
    both = [submit(batcher, "a", "bad"), submit(batcher, "c")]
    later = submit(batcher, "later", bulk=True)
    await asyncio.sleep(0)
    model.gate.set()
    outcomes = await asyncio.gather(first, *both, later, return_exceptions=True)
    assert [type(o) for o in outcomes] == [list, ValueError, ValueError, list]
    assert model.batches[1:] == [["a", "bad", "c"], ["later"]]


async def test_a_batcher_serves_one_event_loop_after_another(
    batcher: Batcher[str, str], model: Model
) -> None:
    model.gate.set()
    assert await batcher.submit(["here"]) == ["HERE"]
    there = await asyncio.to_thread(asyncio.run, batcher.submit(["there"]))
    assert there == ["THERE"]


async def test_two_batches_run_side_by_side_and_what_waits_joins_the_next(model: Model) -> None:
    batcher = Batcher(
        model.run, at_once=2, cost=len, max_cost=6, max_bulk_cost=9, max_waiting=8, name="shouter"
    )
    first, second = await occupy(batcher, model), submit(batcher, "second")
    await asyncio.sleep(0)
    others = [submit(batcher, "a"), submit(batcher, "b")]
    await asyncio.sleep(0)
    assert model.batches == [["-"], ["second"]]
    model.gate.set()
    await asyncio.gather(first, second, *others)
    assert model.batches[2:] == [["a", "b"]]
