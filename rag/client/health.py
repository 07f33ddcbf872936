"""The endpoints of the service itself: health and metrics."""

from __future__ import annotations

import httpx

from .administration_responses import ServiceHealth
from .call import Call, read_as
from .responses import Health


def healthz() -> Call[Health]:
    """Reports that the process answers."""
    return Call(method="GET", path="/healthz", read=read_as(Health))


def readyz() -> Call[Health]:
    """Reports that the process takes requests."""
    return Call(method="GET", path="/readyz", read=read_as(Health))


def get_health() -> Call[ServiceHealth]:
    """Returns the state of all that the service depends on."""
    return Call(method="GET", path="/v1/health", read=read_as(ServiceHealth))


def get_metrics() -> Call[str]:
    """Returns metrics for Prometheus."""
    return Call(method="GET", path="/metrics", read=_text)


def _text(response: httpx.Response) -> str:
    return response.text
