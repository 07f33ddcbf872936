"""Reports of what was used, from the ledger."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rag.catalog.usage import Group, Period, Usage
from rag.gateway.budgets import start_of
from rag.types import Principal

OUTLIER_FIELDS = (
    *("tenant", "key_id", "subject", "feature", "model", "outcome", "trace_id"),
    *("input_tokens", "output_tokens", "cost", "started_at"),
)


def period_of(
    caller: Principal | None, *, since: datetime | None = None, until: datetime | None = None
) -> Period:
    """Returns the period of what a caller may see; None, on the host: everything.

    An administrator sees the whole tenant, a key what it used itself, and a user without a key the
    own requests. It is the current month, unless `since` and `until` are given.
    """
    now = time.time()
    begin = start_of("month", now) if since is None else _seconds(since)
    end = now if until is None else _seconds(until)
    if caller is None:
        return Period(tenant=None, since=begin, until=end)
    sees_all = caller.may("admin")
    return Period(
        tenant=caller.tenant,
        key_id=None if sees_all or not caller.key_id else caller.key_id,
        subject=None if sees_all or caller.key_id else caller.subject,
        since=begin,
        until=end,
    )


async def report(usage: Usage, period: Period, by: Sequence[Group]) -> dict[str, Any]:
    """Returns the sums of a period, by groups and in all, and the requests of unusual cost."""
    total = await usage.sums(period, [])
    outliers = [asdict(row) for row in await usage.outliers(period)]
    return {
        "since": _iso(period.since),
        "until": _iso(period.until),
        "groups": await usage.sums(period, by) if by else [],
        "total": total[0] if total else None,
        "outliers": [
            {name: row[name] for name in OUTLIER_FIELDS} | {"started_at": _iso(row["started_at"])}
            for row in outliers
        ],
    }


def _seconds(at: datetime) -> float:
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
