"""Prometheus metrics of notices that the machine is taken away; see `rag.telemetry.metrics`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from prometheus_client.values import MultiProcessValue

from rag.telemetry import instruments


def failed() -> None:
    """Counts a look at `server.stop_notice_url` that failed."""
    instruments.notice_failures.inc()


def failed_for_children() -> Callable[[], None]:
    """Returns what counts the same in the parent of several processes, which show it.

    The parent's own instruments are not in the folder that its children share: prometheus_client
    looks for the folder when it is imported, and the parent makes it later.
    """
    (metric,) = instruments.notice_failures.describe()
    name, text = metric.name, metric.documentation
    make = MultiProcessValue()  # type: ignore[no-untyped-call]
    value = make(metric.type, name, f"{name}_total", (), (), text)
    return partial(value.inc, 1)
