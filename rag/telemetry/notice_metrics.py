"""Prometheus metrics of notices that the machine is taken away; see `rag.telemetry.metrics`."""

from __future__ import annotations

from rag.telemetry import instruments


def failed() -> None:
    """Counts a look at `server.stop_notice_url` that failed."""
    instruments.notice_failures.inc()
