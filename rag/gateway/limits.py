"""Limits of callers: who may take how much, and what a request holds while it is under way."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import Any, Literal

from rag.errors import RateLimitedError, UpstreamError
from rag.gateway.buckets import Bucket, LimitStore, LocalStore, Permits, Taken, Unit
from rag.gateway.limit_fields import limit_fields
from rag.telemetry import metrics
from rag.types.access import Principal

BUSY_SECONDS = 1.0
"""Seconds after which to try again if too many requests are under way."""
AWAY_SECONDS = 1.0
"""Seconds for which a store that failed is not asked: each request would wait for its time-out."""
OWNERS = 4096
"""Callers whose limits are kept, so that they are not made for each request."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """The limits of one owner; None: no limit."""

    requests: int | None = None
    requests_burst: int | None = None
    tokens: int | None = None
    tokens_burst: int | None = None
    at_once: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiers:
    """The tiers of tenants, keys and users; those of some of them by their names."""

    tenant: Tier | None = None
    key: Tier | None = None
    subject: Tier | None = None
    tenants: Mapping[str, Tier]
    keys: Mapping[str, Tier]

    def of(self, caller: Principal) -> Iterator[tuple[str, str, Tier]]:
        """Yields what applies to a caller: the kind of the owner, its name, and its tier."""
        tenant = self.tenants.get(caller.tenant, self.tenant)
        if tenant:
            yield "tenant", "", tenant
        key = self.keys.get(caller.key_id, self.key)
        if caller.key_id and key:
            yield "key", caller.key_id, key
        if caller.subject and self.subject:
            yield "subject", caller.subject, self.subject


@dataclass(frozen=True, slots=True)
class Limits:
    """The buckets and permits of one caller."""

    requests: tuple[Bucket, ...]
    tokens: tuple[Bucket, ...]
    permits: tuple[Permits, ...]


class Limiter:
    """Admits requests within the limits of their callers."""

    def __init__(
        self,
        tiers: Tiers,
        store: LimitStore | None = None,
        *,
        without_store: Mapping[Unit, Literal["open", "closed"]] | None = None,
    ) -> None:
        """Makes a limiter.

        Args:
            tiers: The limits.
            store: Holds buckets for several processes; None: they are in this process.
            without_store: While the store is away, requests of this unit are limited by this
                process alone (open), or refused (closed).
        """
        self._local = LocalStore()
        self._store: LimitStore = store or self._local
        self._without_store = without_store or {}
        self._away_until = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self.limits_of = lru_cache(OWNERS)(lambda caller: _limits(tiers, caller))
        """Returns the limits of a caller."""

    async def admit(self, caller: Principal, holder: str) -> Admission:
        """Takes a request and a permit of each owner; `holder` names the request.

        Raises:
            RateLimitedError: One of them is missing; nothing was taken.
            UpstreamError: The store is away, and requests are refused meanwhile.
        """
        limits: Limits = self.limits_of(caller)
        admission = Admission(self, limits, holder)
        amounts = [(bucket, 1.0) for bucket in limits.requests]
        if amounts or limits.permits:
            taken, store = await self.take("requests", amounts, limits.permits, holder)
            admission.note(amounts, taken)
            if not taken.ok:
                raise _refused(amounts, limits.permits, taken, admission.fields(amounts))
            admission.hold(store)
        return admission

    async def take(
        self,
        unit: Unit,
        amounts: Sequence[tuple[Bucket, float]],
        permits: Sequence[Permits] = (),
        holder: str = "",
    ) -> tuple[Taken, LimitStore]:
        """Takes all or nothing, and returns the store that it was taken from."""
        if any(not b.per_minute for b, _ in amounts) or any(not p.at_once for p in permits):
            levels = tuple(float(bucket.burst if bucket.per_minute else 0) for bucket, _ in amounts)
            return Taken(False, levels, (0,) * len(permits)), self._local
        try:
            self._check_away()
            return await self._store.take(amounts, permits, holder=holder), self._store
        except UpstreamError as error:
            self._note_away(error)
            decision = self._without_store.get(unit, "closed")
            metrics.limits_unavailable(unit, decision)
            if decision == "closed":
                raise
            return await self._local.take(amounts, permits, holder=holder), self._local

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs work that no response waits for; `close` waits for it."""
        task = asyncio.get_running_loop().create_task(self._logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Waits for what is still to be given back, and closes the store."""
        await asyncio.gather(*self._tasks)
        await self._store.close()

    async def _logged(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except UpstreamError as error:  # what is not given back flows in again, and leases expire
            self._note_away(error)
            metrics.limits_unavailable("tokens", "not settled")

    def _check_away(self) -> None:
        if time.monotonic() < self._away_until:
            raise UpstreamError(
                "Redis did not answer a moment ago, and the limits are in it. Try again soon.",
                code="limits_unavailable",
            )

    def _note_away(self, error: UpstreamError) -> None:
        now = time.monotonic()
        if now >= self._away_until:
            self._away_until = now + AWAY_SECONDS
            _log.error("Limits: %s", error.in_full())


class Admission:
    """A request that was admitted: what it holds, and gives back once."""

    def __init__(self, limiter: Limiter, limits: Limits, holder: str) -> None:
        self._limiter = limiter
        self._limits = limits
        self._holder = holder
        self._held_in: LimitStore | None = None
        self._reserved: float | None = None
        self._reserved_in: LimitStore | None = None
        self._levels: dict[Bucket, float] = {}
        self._permits: tuple[tuple[Permits, int], ...] = ()

    def fields(self, refused: Sequence[tuple[Bucket, float]] = ()) -> dict[str, str]:
        """Returns the header fields with the limits, as of the last time something was taken.

        `refused` are the amounts that were not there.
        """
        return limit_fields(list(self._levels.items()), self._permits, dict(refused))

    async def reserve(self, tokens: int) -> None:
        """Takes the most tokens that the request may use; `settle` corrects it.

        Raises:
            RateLimitedError: They are not there. The request itself is given back, too.
            UpstreamError: The store is away, and tokens are refused meanwhile.
        """
        amounts = [(bucket, float(tokens)) for bucket in self._limits.tokens]
        if not amounts or not tokens:
            return
        taken, store = await self._limiter.take("tokens", amounts)
        self.note(amounts, taken)
        if not taken.ok:
            if self._held_in:
                back = [(bucket, 1.0) for bucket in self._limits.requests]
                self._limiter.later(self._held_in.give(back))
            raise _refused(amounts, (), taken, self.fields(amounts))
        self._reserved, self._reserved_in = float(tokens), store

    def settle(self, used: int) -> None:
        """Gives back the reserved tokens that were not used, or takes those used beyond them.

        Returns at once. Only the first call after `reserve` has an effect.
        """
        if self._reserved is None or self._reserved_in is None:
            return
        difference, self._reserved = self._reserved - used, None
        if difference:
            amounts = [(bucket, difference) for bucket in self._limits.tokens]
            self._limiter.later(self._reserved_in.give(amounts))

    def release(self) -> None:
        """Releases the permits; returns at once. Further calls have no effect."""
        if self._held_in and self._limits.permits:
            store, self._held_in = self._held_in, None
            self._limiter.later(store.release(self._limits.permits, holder=self._holder))

    def note(self, amounts: Sequence[tuple[Bucket, float]], taken: Taken) -> None:
        """Records the levels for `fields`."""
        for (bucket, _), level in zip(amounts, taken.levels, strict=True):
            self._levels[bucket] = level
        if taken.held:
            ours = int(taken.ok)
            held = zip(self._limits.permits, taken.held, strict=True)
            self._permits = tuple((each, count + ours) for each, count in held)

    def hold(self, store: LimitStore) -> None:
        """Records the store that the request was taken from."""
        self._held_in = store


def _limits(tiers: Tiers, caller: Principal) -> Limits:
    requests: list[Bucket] = []
    tokens: list[Bucket] = []
    permits: list[Permits] = []
    for kind, name, tier in tiers.of(caller):
        # `{…}`: Redis Cluster puts all keys of a tenant into one slot, so a script may use them.
        key = f"{{{caller.tenant}}}:{kind}:{name}"
        if tier.requests is not None:
            burst = tier.requests_burst or max(1, tier.requests)
            requests.append(
                Bucket(f"{kind}-requests", f"{key}:requests", "requests", tier.requests, burst)
            )
        if tier.tokens is not None:
            burst = tier.tokens_burst or max(1, tier.tokens)
            tokens.append(Bucket(f"{kind}-tokens", f"{key}:tokens", "tokens", tier.tokens, burst))
        if tier.at_once is not None:
            permits.append(Permits(f"{kind}-at-once", f"{key}:at-once", tier.at_once))
    return Limits(tuple(requests), tuple(tokens), tuple(permits))


def _refused(
    amounts: Sequence[tuple[Bucket, float]],
    permits: Sequence[Permits],
    taken: Taken,
    fields: Mapping[str, str],
) -> RateLimitedError:
    """Returns the error; its wait is that of the limit that takes longest."""
    found: list[tuple[float | None, str, str]] = []
    for (bucket, amount), level in zip(amounts, taken.levels, strict=True):
        wait = bucket.wait(level, amount)
        if wait != 0:
            found.append((wait, bucket.policy, _reason(bucket, amount, wait)))
    for each, held in zip(permits, taken.held, strict=True):
        if not each.at_once:
            found.append((None, each.policy, "no request is allowed"))
        elif held >= each.at_once:
            reason = f"{each.at_once:,} requests are under way, which is the limit"
            found.append((BUSY_SECONDS, each.policy, reason))
    wait, policy, reason = max(found, key=lambda each: inf if each[0] is None else each[0])
    metrics.limited(policy)
    return RateLimitedError(f"Limit {policy}: {reason}.", retry_after=wait, fields=fields)


def _reason(bucket: Bucket, amount: float, wait: float | None) -> str:
    if not bucket.per_minute:
        return f"no {bucket.unit} are allowed"
    start = f"{bucket.per_minute:,} {bucket.unit} a minute are allowed"
    if wait is None:
        return (
            f"{start}, and {bucket.burst:,} at one moment: the request needs {amount:,.0f}. Make it"
            " smaller"
        )
    return f"{start}. Try again in {wait:.1f} s"
