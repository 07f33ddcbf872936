"""The endpoints of the service itself: health and metrics."""

from __future__ import annotations

import httpx

from .call import Call, read_as
from .responses import Health


def healthz() -> Call[Health]:
    """Reports that the process answers."""
    return Call(method="GET", path="/healthz", read=read_as(Health))


def readyz() -> Call[Health]:
    """Reports that the models are loaded and warm."""
    return Call(method="GET", path="/readyz", read=read_as(Health))


def get_metrics() -> Call[str]:
    """Returns metrics for Prometheus."""
    return Call(method="GET", path="/metrics", read=_text)


def _text(response: httpx.Response) -> str:
    return response.text
