"""Bounds the work under way; what must wait is taken by class and tenant in turns."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from rag.errors import BusyError

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """The limits of a class of work.

    Attributes:
        weight: its share of the places, where other classes wait as well.
        at_once: under way, at most.
        waiting: waiting, at most.
        seconds: of waiting, at most.
    """

    weight: float
    at_once: int
    waiting: int
    seconds: float


class Turns(Generic[T]):
    """A queue in which owners take turns by their weights, each in the order it came.

    Start-time fair queueing (Goyal, Vin, Cheng 1996): an owner's next item starts at the virtual
    time, or where the owner's last one ended, and takes 1 / weight; the earliest start is next. The
    start is set when the item's turn comes, so one that was removed costs its owner nothing.
    """

    def __init__(self) -> None:
        self._items: dict[str, dict[T, float]] = {}
        """The weights of what waits, by owner."""
        self._ends: dict[str, float] = {}
        self._now = 0.0

    def __bool__(self) -> bool:
        return bool(self._items)

    def put(self, owner: str, item: T, *, weight: float = 1.0) -> None:
        """Adds an item of an owner."""
        self._items.setdefault(owner, {})[item] = weight

    def remove(self, owner: str, item: T) -> None:
        """Removes an item, if it still waits."""
        if (theirs := self._items.get(owner)) is not None:
            theirs.pop(item, None)
            if not theirs:
                del self._items[owner]

    def next(self) -> T:
        """Removes and returns the item whose turn it is."""
        owner = min(self._items, key=self._start)
        item, weight = next(iter(self._items[owner].items()))
        self._now = self._start(owner)
        self._ends[owner] = self._now + 1 / weight
        self.remove(owner, item)
        return item

    def _start(self, owner: str) -> float:
        return max(self._now, self._ends.get(owner, 0.0))


@dataclass(slots=True)
class _Waiting:
    lane: Lane
    turns: Turns[asyncio.Future[None]] = field(default_factory=Turns)
    count: int = 0
    under_way: int = 0
    ends: float = 0.0
    """The virtual time at which its last place was used up."""


class FairAdmission:
    """A bound on work under way, of all classes and of each.

    A place that gets free goes to a class by the weights of those that wait, and within it to the
    tenants in turns, by theirs.
    """

    def __init__(
        self, most: int, lanes: Mapping[str, Lane], *, weights: Mapping[str, float], setting: str
    ) -> None:
        """Makes a bound.

        Args:
            most: places of all classes.
            lanes: the classes by name.
            weights: of tenants; 1 for one that is not in it.
            setting: the name of the setting of `most`, for messages.
        """
        self._most = most
        self._lanes = {name: _Waiting(lane) for name, lane in lanes.items()}
        self._weights = weights
        self._setting = setting
        self._under_way = 0
        self._now = 0.0

    @contextlib.asynccontextmanager
    async def take(self, name: str, tenant: str) -> AsyncIterator[float]:
        """Takes a place of a class during the block, and yields the seconds that it waited for it.

        Raises:
            BusyError: Too many of the class wait already, or the wait was too long.
        """
        lane, waited = self._lanes[name], 0.0
        if lane.count or not self._is_free(lane):
            began = time.monotonic()
            await self._wait(name, lane, tenant)
            waited = time.monotonic() - began
        else:
            self._start(lane)
        try:
            yield waited
        finally:
            self._end(lane)

    async def _wait(self, name: str, lane: _Waiting, tenant: str) -> None:
        """Waits until `_hand_out` has taken a place for the caller."""
        limits = lane.lane
        if lane.count >= limits.waiting or not limits.seconds:
            raise self._refused(name, lane)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lane.turns.put(tenant, turn, weight=self._weights.get(tenant, 1.0))
        lane.count += 1
        try:
            async with asyncio.timeout(limits.seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # its turn came at the same moment
                self._end(lane)
            else:
                lane.turns.remove(tenant, turn)
                self._leave(lane)
                self._hand_out()  # somebody may have come to wait behind it for a free place
            if isinstance(error, TimeoutError):
                raise self._refused(name, lane) from None
            raise

    def _hand_out(self) -> None:
        """Gives free places to those whose turn it is."""
        while lanes := [
            each for each in self._lanes.values() if each.turns and self._is_free(each)
        ]:
            lane = min(lanes, key=lambda each: max(self._now, each.ends))
            turn = lane.turns.next()
            if turn.done():  # it gave up, and is counted no longer
                continue
            self._leave(lane)
            self._now = max(self._now, lane.ends)
            lane.ends = self._now + 1 / lane.lane.weight
            self._start(lane)
            turn.set_result(None)

    def _leave(self, lane: _Waiting) -> None:
        """Counts one less that waits; where nobody waits, what has given up is forgotten."""
        lane.count -= 1
        if not lane.count:
            lane.turns = Turns()

    def _is_free(self, lane: _Waiting) -> bool:
        return self._under_way < self._most and lane.under_way < lane.lane.at_once

    def _start(self, lane: _Waiting) -> None:
        lane.under_way += 1
        self._under_way += 1

    def _end(self, lane: _Waiting) -> None:
        lane.under_way -= 1
        self._under_way -= 1
        self._hand_out()

    def _refused(self, name: str, lane: _Waiting) -> BusyError:
        return BusyError(
            f"{self._under_way} questions are under way already ({self._setting}), and"
            f" {lane.count} of the class {name} wait (admission.{name}). Try again in a moment."
        )
