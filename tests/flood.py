"""Checks what a token bucket let in while many clients asked for more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Flood:
    """When the clients began, and when each request was let in or refused, by their clock."""

    begun: float
    admitted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    unknown: bool = False
    """True if requests were neither let in nor refused."""

    def check(self, *, burst: int, rate: float, late: float = 0.5) -> None:
        """Fails if more was let in than `burst` and `rate` a second allow, or 1 % less.

        At a refusal the bucket holds less than one. So between the first and the last one it lets
        in what flows in. Answers may be `late` seconds.
        """
        self.admitted.sort()
        for n, at in enumerate(self.admitted, start=1):
            assert n <= burst + rate * (at - self.begun), (n, at - self.begun)
        if self.unknown:
            return
        first, last = min(self.refused), max(self.refused)
        meanwhile = _between(self.admitted, first, last)
        assert meanwhile >= 0.99 * rate * (last - first) - 1 - rate * late


def _between(times: Sequence[float], first: float, last: float) -> int:
    return sum(first <= at <= last for at in times)
