"""Prometheus metrics of the synthetic canary; see `rag.telemetry.metrics`."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rag.telemetry import instruments

for _outcome in ("succeeded", "failed"):  # they start at 0, as all counters do
    instruments.synthetic_runs.labels(_outcome)


def interval(seconds: float) -> None:
    """Sets the seconds from one run to the next."""
    instruments.synthetic_interval.set(seconds)


def run(steps: Mapping[str, float], *, succeeded: bool) -> None:
    """Counts a run that has ended, and the seconds of its steps."""
    instruments.synthetic_runs.labels("succeeded" if succeeded else "failed").inc()
    for step, seconds in steps.items():
        instruments.synthetic_steps.labels(step).observe(seconds)
    if succeeded:
        instruments.synthetic_success.set(time.time())
