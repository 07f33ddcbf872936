"""Hedged requests: a second replica is asked if the first is late, and the faster one writes.

J. Dean, L. A. Barroso, The Tail at Scale, CACM 2013: a second request after the 95th percentile of
the usual time adds 5 % of requests at most, while times stay as usual.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from generation.replicas.attempt import Attempt

PERCENTILE = 0.95
SAMPLES, LEAST_SAMPLES = 200, 20
"""First tokens that are remembered, and the fewest that give a delay."""


class Delay:
    """The 95th percentile of the last first tokens."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=SAMPLES)

    def add(self, seconds: float) -> None:
        """Records the time to a first token."""
        self._last.append(seconds)

    def seconds(self) -> float | None:
        """Returns the delay of a second request; None if too few times are known."""
        if len(self._last) < LEAST_SAMPLES:
            return None
        return sorted(self._last)[int(PERCENTILE * len(self._last))]


async def faster(first: Attempt, another: Callable[[], Attempt | None], after: float) -> Attempt:
    """Returns the attempt whose first token comes first; the other one is lost.

    Args:
        first: was sent.
        another: sends a second one, if there is a replica for it.
        after: seconds to the second one; if the first fails earlier, there is none.

    Raises:
        InputError, BusyError, UpstreamError: Both failed, or the first before the second was sent.
    """
    await asyncio.wait({first.first}, timeout=after)
    second = None if first.first.done() else another()
    if second is None:
        await first.first
        return first
    attempts = (first, second)
    while True:
        running = [each.first for each in attempts if not each.first.done()]
        winner = next((each for each in attempts if _has_begun(each)), None)
        if winner is not None:
            loser = second if winner is first else first
            if loser.outcome == "left":
                loser.outcome = "lost"
            if loser is first:  # though it was sent before
                loser.slow()
            return winner
        if not running:
            await second.first
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)


def _has_begun(attempt: Attempt) -> bool:
    return attempt.first.done() and attempt.first.exception() is None
