"""A circuit breaker: calls that fail again and again are not made for a while."""

from __future__ import annotations

import time
from collections.abc import Callable

FAILURES = 3
PAUSE_SECONDS = 30.0


class Breaker:
    """Opens after `FAILURES` in a row, for a pause or until `may_try`; then one call tries.

    M. Nygard, Release It!, 2007. A call that neither succeeded nor failed, because its caller left,
    does not count.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, pause_seconds: float = PAUSE_SECONDS
    ) -> None:
        self._clock = clock
        self._pause = pause_seconds
        self._failures = 0
        self._closed_from = 0.0

    @property
    def is_open(self) -> bool:
        """True if calls are left out."""
        return self._failures >= FAILURES

    def allows(self) -> bool:
        """True if a call may be made now; after a pause only once, then another pause begins."""
        if not self.is_open:
            return True
        if self._clock() < self._closed_from:
            return False
        self._closed_from = self._clock() + self._pause
        return True

    def seconds_left(self) -> float:
        """Returns the seconds until the next call may try."""
        return max(0.0, self._closed_from - self._clock())

    def may_try(self) -> None:
        """Ends a pause: one call may try at once."""
        self._closed_from = self._clock()

    def succeeded(self) -> None:
        """Records a success: calls may go through again."""
        self._failures = 0

    def failed(self) -> None:
        """Records a failure."""
        self._failures += 1
        self._closed_from = self._clock() + self._pause
