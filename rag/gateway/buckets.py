"""Token buckets and permits in this process; `limits_redis` has them for several processes.

The library `limits` has no token bucket. It checks one limit in each call, so that several are not
checked together. On Redis it takes the time from the client, its moving window stores an entry for
each unit of a cost, and a request that its fixed window refuses is counted all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Unit = Literal["requests", "tokens"]
MINUTE = 60.0
_SWEEP_FROM = 1024
"""Buckets in memory from which on full ones are forgotten."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket of at most `burst` units, into which `per_minute` units flow evenly.

    `policy` is its name for callers. `key` names its owner, and begins with `{TENANT}`: Redis
    Cluster keeps keys with the same text in braces together.
    """

    policy: str
    key: str
    unit: Unit
    per_minute: int
    burst: int

    @property
    def rate(self) -> float:
        """Units a second."""
        return self.per_minute / MINUTE

    def wait(self, level: float, amount: float) -> float | None:
        """Returns the seconds until it holds `amount`; None if it never will."""
        if level >= amount:
            return 0.0
        if amount > self.burst or not self.per_minute:
            return None
        return (amount - level) / self.rate


@dataclass(frozen=True, slots=True)
class Permits:
    """The number of requests of an owner that may be under way at once."""

    policy: str
    key: str
    at_once: int


@dataclass(frozen=True, slots=True)
class Taken:
    """The result of taking: whether all was there, and how much there is now.

    `levels` are those of the buckets after taking, or as they are if nothing was taken; a bucket
    in debt has a negative level. `held` are the numbers of permits in use before this request.
    """

    ok: bool
    levels: tuple[float, ...]
    held: tuple[int, ...] = ()


class LimitStore(Protocol):
    """Holds buckets and permits. An unknown bucket is full."""

    async def take(
        self,
        amounts: Sequence[tuple[Bucket, float]],
        permits: Sequence[Permits] = (),
        *,
        holder: str = "",
    ) -> Taken:
        """Takes all amounts and a permit of each, or nothing if one of them is missing.

        Raises:
            UpstreamError: The store cannot be reached.
        """
        ...

    async def give(self, amounts: Sequence[tuple[Bucket, float]]) -> None:
        """Adds to buckets, up to their `burst`; negative amounts are taken, and may leave a debt.

        Raises:
            UpstreamError: The store cannot be reached; it is not known whether they were added.
        """
        ...

    async def release(self, permits: Sequence[Permits], *, holder: str) -> None:
        """Releases the permits of a holder; ignores those that it does not have."""
        ...

    async def close(self) -> None:
        """Closes connections."""
        ...


class LocalStore:
    """`LimitStore` in memory, for one process.

    No method awaits anything: on one event loop each is atomic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._levels: dict[str, tuple[float, float, Bucket]] = {}
        self._holders: dict[str, set[str]] = {}
        self._sweep_at = _SWEEP_FROM

    async def take(
        self,
        amounts: Sequence[tuple[Bucket, float]],
        permits: Sequence[Permits] = (),
        *,
        holder: str = "",
    ) -> Taken:
        """Takes all amounts and a permit of each, or nothing."""
        now = self._clock()
        levels = [self._level(bucket, now) for bucket, _ in amounts]
        held = tuple(len(self._holders.get(each.key, ())) for each in permits)
        ok = all(level >= amount for level, (_, amount) in zip(levels, amounts, strict=True))
        ok = ok and all(n < each.at_once for n, each in zip(held, permits, strict=True))
        if not ok:
            return Taken(False, tuple(levels), held)
        left = []
        for level, (bucket, amount) in zip(levels, amounts, strict=True):
            left.append(level - amount)
            self._set(bucket, level - amount, now)
        for each in permits:
            self._holders.setdefault(each.key, set()).add(holder)
        self._sweep(now)
        return Taken(True, tuple(left), held)

    async def give(self, amounts: Sequence[tuple[Bucket, float]]) -> None:
        """Adds to buckets, up to their `burst`."""
        now = self._clock()
        for bucket, amount in amounts:
            self._set(bucket, min(bucket.burst, self._level(bucket, now) + amount), now)

    async def release(self, permits: Sequence[Permits], *, holder: str) -> None:
        """Releases the permits of a holder."""
        for each in permits:
            holders = self._holders.get(each.key, set())
            holders.discard(holder)
            if not holders:
                self._holders.pop(each.key, None)

    async def close(self) -> None:
        """Does nothing."""

    def _level(self, bucket: Bucket, now: float) -> float:
        if bucket.key not in self._levels:
            return float(bucket.burst)
        level, at, _ = self._levels[bucket.key]
        return min(bucket.burst, level + (now - at) * bucket.rate)

    def _set(self, bucket: Bucket, level: float, now: float) -> None:
        self._levels[bucket.key] = (level, now, bucket)

    def _sweep(self, now: float) -> None:
        """Forgets full buckets, at intervals: an unknown bucket is full."""
        if len(self._levels) < self._sweep_at:
            return
        self._levels = {
            key: state
            for key, state in self._levels.items()
            if self._level(state[2], now) < state[2].burst
        }
        self._sweep_at = max(_SWEEP_FROM, 2 * len(self._levels))
