"""The endpoint of the ledger: what was used, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from .call import Call, read_as
from .responses import UsageReport

Group = Literal["tenant", "key", "subject", "model", "feature", "outcome", "day"]


def get_usage(
    *,
    by: Sequence[Group] | None = None,
    since: str | None = None,
    until: str | None = None,
) -> Call[UsageReport]:
    """Sums up tokens and cost, of this month unless `since` says otherwise.

    `since` and `until` are dates, or dates and times, in ISO 8601. A key with the scope `admin`
    sees the whole tenant, another one what it used itself.
    """
    params = {"by": by, "since": since, "until": until}
    return Call(method="GET", path="/v1/usage", params=params, read=read_as(UsageReport))
