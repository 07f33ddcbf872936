"""Prometheus metrics of batches; see `rag.telemetry.metrics`."""

from __future__ import annotations

from typing import Literal, get_args

from rag.telemetry import instruments

LineEnd = Literal["done", "failed", "invalid", "postponed", "retried"]
for _end in get_args(LineEnd):  # they start at 0, as all counters do
    instruments.batch_lines.labels(_end)


def lines(outcome: LineEnd, count: int = 1) -> None:
    """Counts lines of batches by what became of them."""
    instruments.batch_lines.labels(outcome).inc(count)
