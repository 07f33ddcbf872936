"""Charges work to a tenant: writes what it used into the ledger, once."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from uuid import uuid4

from rag.gateway.ledger import Ledger
from rag.records import Feature, LedgerRow, Outcome
from rag.telemetry.metering import Meter
from rag.types import Usage


class Charge(Meter):
    """One piece of work: a row when it begins, and its tokens and outcome when it ends."""

    charges = True

    def __init__(
        self,
        ledger: Ledger,
        tenant: str,
        *,
        key_id: str = "",
        subject: str = "",
        id_: str = "",
        price: float = 1.0,
    ) -> None:
        """Takes who is charged; the cost is multiplied by `price`."""
        super().__init__()
        self._price = price
        self.key_id, self.subject = key_id, subject
        self._ledger = ledger
        self._row = LedgerRow(
            id=id_ or uuid4().hex,
            writer=ledger.writer,
            tenant=tenant,
            key_id=key_id,
            subject=subject,
            feature="ask",
            started_at=time.time(),
        )
        self._begun = self._ended = False
        self._stored: asyncio.Event | None = None

    def begin(self, feature: Feature) -> None:
        """Opens the row; only the first call counts."""
        if not self._begun:
            self._begun = True
            self._row = replace(self._row, feature=feature)
            self._ledger.put(self._row)

    def end(self, outcome: Outcome, *, trace_id: str = "") -> None:
        """Closes the row; only the first call counts, and none for work that never began."""
        if self._ended or not self._begun:
            return
        self._ended = True
        used = self.by_model or {"": Usage()}
        spent = {name: replace(each, cost=each.cost * self._price) for name, each in used.items()}
        ended = replace(
            self._row,
            outcome=outcome,
            trace_id=trace_id,
            finished_at=time.time(),
            outlier=self._settle(sum(usage.cost for usage in spent.values()), trace_id),
        )
        rows = [_charged(ended, *each, part=part) for part, each in enumerate(spent.items())]
        self._stored = self._ledger.put(*rows)

    def _settle(self, _cost: float, _trace_id: str) -> bool:
        """Ends what the work holds; returns True if its cost is unusual."""
        return False


def charge_of(ledger: Ledger | None, tenant: str, *, key_id: str = "", subject: str = "") -> Meter:
    """Returns what work is charged by that no request waits for; without a ledger by nothing."""
    if ledger is None:
        return Meter()
    return Charge(ledger, tenant, key_id=key_id, subject=subject)


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
