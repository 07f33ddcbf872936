"""Single flight: of many questions that are the same, at the same time, one is answered."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from rag.answer_cache.entries import Entry
from rag.types import Answer, Cached, CacheMatch, Query

if TYPE_CHECKING:
    from rag.answer_cache.leases import Lease


@dataclass(frozen=True, slots=True)
class Landed:
    """An answer; `match` is None if it was made, and not found in the cache.

    `degraded` says what was left out of it, as in `Answer`.
    """

    entry: Entry
    match: CacheMatch | None
    degraded: tuple[str, ...] = ()

    def repeated(self, query: Query, *, now: float, id_: str, trace_id: str) -> Answer:
        """Returns the answer for another question.

        To a question in other words, it is an answer to these words, and is scored as one.
        """
        entry, match = self.entry, self.match or "exact"
        cached = Cached(
            match=match,
            age_seconds=max(0.0, now - entry.made_at),
            question=entry.question,
            answer_id=entry.answer.id,
        )
        question = entry.answer.question if match == "exact" else query.text
        return replace(entry.answer, id=id_, question=question, trace_id=trace_id, cached=cached)


Outcome = Landed | Literal["failed", "abandoned"]
"""failed: the question raised an error; abandoned: its caller left."""


class Flight:
    """A question under way; others wait for its outcome."""

    def __init__(self, flights: dict[str, Flight], key: str) -> None:
        self._flights = flights
        self._key = key
        self.lease: Lease | None = None
        """That of the answer among all processes; it ends when the flight is forgotten."""
        self._outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    async def outcome(self) -> Outcome:
        """Returns the outcome, once there is one; a caller who is cancelled ends no flight."""
        return await asyncio.shield(self._outcome)

    def end(self, outcome: Outcome) -> None:
        """Ends the flight for those who wait; only the first call counts."""
        if not self._outcome.done():
            self._outcome.set_result(outcome)

    def forget(self) -> None:
        """Lets the next question begin a flight of its own."""
        if self.lease is not None:
            self.lease.end()
        if self._flights.get(self._key) is self:
            del self._flights[self._key]


class Flights:
    """The questions under way, by key."""

    def __init__(self) -> None:
        self._under_way: dict[str, Flight] = {}

    def of(self, key: str) -> Flight | None:
        """Returns the flight of a key, if one is under way."""
        return self._under_way.get(key)

    def begin(self, key: str) -> Flight:
        """Begins the flight of a key; none is under way."""
        flight = self._under_way[key] = Flight(self._under_way, key)
        return flight

    def alone(self, key: str) -> Flight:
        """Begins a flight that nobody waits for."""
        return Flight({}, key)
