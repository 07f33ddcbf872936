"""Budgets of tenants and keys, by day and by month of UTC."""

from __future__ import annotations

import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from rag.catalog.usage import Usage
from rag.errors import QuotaExceededError
from rag.telemetry import metrics
from rag.types import Principal

Window = Literal["day", "month"]
FRESH_SECONDS = 5.0
"""Seconds for which a sum of the ledger is used: other processes write it, too."""
MAX_OWNERS = 4096
"""Sums that are kept; the ones used longest ago are read again."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most that an owner may spend in a day and in a month; None: no bound.

    Past the share `soft` of one, callers and operators are warned.
    """

    day: float | None = None
    month: float | None = None
    soft: float = 0.8

    def bounds(self) -> Iterator[tuple[Window, float]]:
        """Yields the bounds there are."""
        if self.day is not None:
            yield "day", self.day
        if self.month is not None:
            yield "month", self.month


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetsOf:
    """The budgets of each tenant and each key, and those of some of them."""

    tenant: Budget = Budget()
    key: Budget = Budget()
    tenants: Mapping[str, Budget]
    keys: Mapping[str, Budget]


@dataclass(slots=True)
class _Spent:
    """The sum spent in a window that began at `start`, as far as it is known at `read_at`."""

    start: float
    amount: float
    read_at: float
    warned: bool = False


class Budgets:
    """Refuses requests of those who have spent a budget.

    Requests under way are not counted yet, and what other processes wrote is seen within
    `FRESH_SECONDS`: a budget may be exceeded by so much.
    """

    def __init__(
        self, usage: Usage, budgets: BudgetsOf, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Makes budgets over the ledger; `clock` returns seconds since 1970."""
        self._usage = usage
        self._budgets = budgets
        self._clock = clock
        self._spent: OrderedDict[tuple[str, str | None, Window], _Spent] = OrderedDict()

    async def check(self, caller: Principal) -> dict[str, str]:
        """Returns the header field that warns of a budget; none if there is much left.

        Raises:
            QuotaExceededError: A budget is spent.
        """
        warnings = []
        for policy, key_id, budget in self._of(caller):
            for window, bound in budget.bounds():
                spent = await self._known(caller.tenant, key_id, window)
                left = next_start(window, self._clock()) - self._clock()
                name = f"{policy}-{window}"
                if spent.amount >= bound:
                    metrics.budget("hard", caller.tenant)
                    raise _exceeded(name, bound, left)
                if spent.amount >= budget.soft * bound:
                    self._warn(name, caller, spent, bound)
                    used = spent.amount / bound
                    warnings.append(f'"{name}";used={used:.3f};t={math.ceil(left)}')
        return {"X-Budget": ", ".join(warnings)} if warnings else {}

    def add(self, caller: Principal, cost: float) -> None:
        """Adds the cost of a request that has ended, before the ledger has it."""
        for _, key_id, budget in self._of(caller):
            for window, _ in budget.bounds():
                known = self._spent.get((caller.tenant, key_id, window))
                if known and known.start == start_of(window, self._clock()):
                    known.amount += cost

    def _of(self, caller: Principal) -> Iterator[tuple[str, str | None, Budget]]:
        yield "tenant", None, self._budgets.tenants.get(caller.tenant, self._budgets.tenant)
        if caller.key_id:
            yield "key", caller.key_id, self._budgets.keys.get(caller.key_id, self._budgets.key)

    async def _known(self, tenant: str, key_id: str | None, window: Window) -> _Spent:
        owner, now = (tenant, key_id, window), self._clock()
        start = start_of(window, now)
        known = self._spent.get(owner)
        if known is None or known.start != start:
            known = self._spent[owner] = _Spent(start, 0.0, -math.inf)
        if now - known.read_at >= FRESH_SECONDS:
            known.read_at = now
            written = await self._usage.spent(tenant, key_id, since=start)
            known.amount = max(known.amount, written)  # ours may not be written yet
        self._spent.move_to_end(owner)
        if len(self._spent) > MAX_OWNERS:
            self._spent.popitem(last=False)
        return known

    def _warn(self, name: str, caller: Principal, spent: _Spent, bound: float) -> None:
        metrics.budget("soft", caller.tenant)
        if not spent.warned:
            spent.warned = True
            _log.warning(
                "Tenant %s, key %s: %.2f of the budget %s, %.2f, are spent.",
                *(caller.tenant, caller.key_id or "none", spent.amount, name, bound),
            )


def start_of(window: Window, now: float) -> float:
    """Returns when the window around `now` began, in seconds since 1970."""
    at = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (at if window == "day" else at.replace(day=1)).timestamp()


def next_start(window: Window, now: float) -> float:
    """Returns when the next window begins, in seconds since 1970."""
    longest = 1 if window == "day" else 31  # the first day of a month and 31 more: the next month
    return start_of(window, start_of(window, now) + longest * 86_400)


def _exceeded(name: str, bound: float, left: float) -> QuotaExceededError:
    at = datetime.fromtimestamp(math.ceil(time.time() + left), UTC)
    return QuotaExceededError(
        f"The budget {name} of {bound:,.2f} is spent. It begins anew in {math.ceil(left):,} s, at"
        f" {at:%Y-%m-%d %H:%M} UTC. Ask whoever runs the service for a larger one.",
        retry_after=left,
    )
