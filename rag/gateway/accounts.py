"""The account of a request: what it may use, what it holds, and what it is charged."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import statistics
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, replace
from uuid import uuid4

from rag.gateway.budgets import Budgets
from rag.gateway.ledger import Ledger
from rag.gateway.limits import Admission, Limiter
from rag.records import Feature, LedgerRow, Outcome
from rag.telemetry import metrics
from rag.telemetry.metering import Meter
from rag.types import Principal, Usage

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

    async def open(self, caller: Principal) -> Account:
        """Admits a request, and returns its account.

        Raises:
            RateLimitedError: The caller is over a limit.
            UpstreamError: The limits cannot be read, and requests are refused meanwhile.
        """
        id_ = uuid4().hex
        return Account(self, caller, await self.limiter.admit(caller, id_), id_)


class Account(Meter):
    """Charges one request to its caller: once, however it ends."""

    charges = True

    def __init__(
        self, accounts: Accounts, caller: Principal, admission: Admission, id_: str
    ) -> None:
        super().__init__()
        self._accounts = accounts
        self._caller = caller
        self._admission = admission
        self._warnings: dict[str, str] = {}
        self._row = LedgerRow(
            id=id_,
            writer=accounts.ledger.writer,
            tenant=caller.tenant,
            key_id=caller.key_id,
            subject=caller.subject,
            feature="ask",
            started_at=time.time(),
        )
        self._begun = self._ended = False
        self._stored: asyncio.Event | None = None

    def fields(self) -> dict[str, str]:
        """Returns the header fields with limits and budgets."""
        return self._admission.fields() | self._warnings

    async def reserve(self, tokens: int) -> None:
        """Checks the budgets, and reserves the most tokens that the request may use."""
        self._warnings = await self._accounts.budgets.check(self._caller)
        await self._admission.reserve(tokens)

    def begin(self, feature: Feature) -> None:
        """Opens the row; only the first call counts."""
        if not self._begun:
            self._begun = True
            self._row = replace(self._row, feature=feature)
            self._accounts.ledger.put(self._row)

    def end(self, outcome: Outcome, *, trace_id: str = "") -> None:
        """Closes the row and settles the tokens; only the first call counts."""
        if self._ended:
            return
        self._ended = True
        spent = self.by_model or {"": Usage()}
        cost = sum(usage.cost for usage in spent.values())
        ended = replace(
            self._row,
            outcome=outcome,
            trace_id=trace_id,
            finished_at=time.time(),
            outlier=self._is_outlier(cost, trace_id),
        )
        rows = [_charged(ended, *used, part=part) for part, used in enumerate(spent.items())]
        self._stored = self._accounts.ledger.put(*rows)
        self._admission.settle(sum(u.input_tokens + u.output_tokens for u in spent.values()))
        self._accounts.budgets.add(self._caller, cost)

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

    def _is_outlier(self, cost: float, trace_id: str) -> bool:
        found = self._accounts.outliers.is_one(self._caller.tenant, cost)
        if found:
            metrics.usage_outlier(self._caller.tenant)
            _log.warning(
                "A request of tenant %s, key %s, cost %.4f, many times the usual: trace %s.",
                *(self._caller.tenant, self._caller.key_id or "none", cost, trace_id),
            )
        return found


def _charged(row: LedgerRow, model: str, usage: Usage, *, part: int) -> LedgerRow:
    return replace(
        row,
        part=part,
        model=model,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cached_tokens,
        estimated=usage.estimated,
        gpu_seconds=usage.gpu_seconds,
        cost=usage.cost,
    )
