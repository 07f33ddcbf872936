"""The endpoints of the service itself: what was used, health and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import httpx

from .call import Call, as_
from .responses import Health, UsageReport

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
    return Call(method="GET", path="/v1/usage", params=params, read=as_(UsageReport))


def healthz() -> Call[Health]:
    """Reports that the process answers."""
    return Call(method="GET", path="/healthz", read=as_(Health))


def readyz() -> Call[Health]:
    """Reports that the models are loaded and warm."""
    return Call(method="GET", path="/readyz", read=as_(Health))


def get_metrics() -> Call[str]:
    """Returns metrics for Prometheus."""
    return Call(method="GET", path="/metrics", read=_text)


def _text(response: httpx.Response) -> str:
    return response.text
