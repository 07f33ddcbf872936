"""The account of a request: what it may use, what it holds, and what it is charged."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import statistics
from collections import OrderedDict, deque
from dataclasses import dataclass
from uuid import uuid4

from rag.gateway.budgets import Budgets
from rag.gateway.charges import Charge
from rag.gateway.ledger import Ledger
from rag.gateway.limits import Admission, Limiter
from rag.telemetry import metrics
from rag.types import Principal

WRITTEN_SECONDS = 2.0
"""Seconds that a response waits at its end for its row; it is written in any case."""
SAMPLES, MIN_SAMPLES, MAX_TENANTS = 256, 30, 1024
"""Costs of a tenant that the median is of, at most and at least; tenants that are remembered."""
_log = logging.getLogger(__name__)


class Outliers:
    """Finds requests that cost many times the median of their tenant's latest ones."""

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._costs: OrderedDict[str, deque[float]] = OrderedDict()

    def is_one(self, tenant: str, cost: float) -> bool:
        """Returns True if the cost is unusual, and remembers it."""
        if not cost:
            return False
        costs = self._costs.setdefault(tenant, deque(maxlen=SAMPLES))
        self._costs.move_to_end(tenant)
        if len(self._costs) > MAX_TENANTS:
            self._costs.popitem(last=False)
        known = len(costs) >= MIN_SAMPLES
        found = known and cost > self._factor * statistics.median(costs)
        costs.append(cost)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """Opens the accounts of requests."""

    limiter: Limiter
    ledger: Ledger
    budgets: Budgets
    outliers: Outliers

    async def open(self, caller: Principal, *, price: float = 1.0) -> Account:
        """Admits a request, and returns its account; its cost is multiplied by `price`.

        Raises:
            RateLimitedError: The caller is over a limit.
            UpstreamError: The limits cannot be read, and requests are refused meanwhile.
        """
        id_ = uuid4().hex
        admission = await self.limiter.admit(caller, id_)
        return Account(self, caller, admission, id_, price=price)


class Account(Charge):
    """Charges one request to its caller: once, however it ends."""

    def __init__(
        self,
        accounts: Accounts,
        caller: Principal,
        admission: Admission,
        id_: str,
        *,
        price: float,
    ) -> None:
        super().__init__(
            accounts.ledger,
            caller.tenant,
            key_id=caller.key_id,
            subject=caller.subject,
            id_=id_,
            price=price,
        )
        self._accounts = accounts
        self._caller = caller
        self._admission = admission
        self._warnings: dict[str, str] = {}

    def fields(self) -> dict[str, str]:
        """Returns the header fields with limits and budgets."""
        return self._admission.fields() | self._warnings

    async def reserve(self, tokens: int) -> None:
        """Checks the budgets, and reserves the most tokens that the request may use."""
        self._warnings = await self._accounts.budgets.check(self._caller)
        await self._admission.reserve(tokens)

    async def written(self) -> None:
        """Returns once the row is stored, if the work has ended: then a kill cannot lose it."""
        if self._stored is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stored.wait(), WRITTEN_SECONDS)

    def close(self) -> None:
        """Ends the request: releases its permits, and its tokens if no work has begun."""
        self._admission.release()
        if not self._begun:  # else the work settles them, even after a client hung up
            self._admission.settle(0)

    def _settle(self, cost: float, trace_id: str) -> bool:
        used = self.by_model.values()
        self._admission.settle(sum(usage.input_tokens + usage.output_tokens for usage in used))
        self._accounts.budgets.add(self._caller, cost)
        unusual = self._accounts.outliers.is_one(self._caller.tenant, cost)
        if unusual:
            metrics.usage_outlier(self._caller.tenant)
            _log.warning(
                "A request of tenant %s, key %s, cost %.4f, many times the usual: trace %s.",
                *(self._caller.tenant, self._caller.key_id or "none", cost, trace_id),
            )
        return unusual
