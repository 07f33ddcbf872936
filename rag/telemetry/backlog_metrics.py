"""Prometheus metrics of the catalog's backlog; see `rag.telemetry.metrics`."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from rag.records import Backlog


def backlog_registry(found: Backlog | None) -> CollectorRegistry:
    """Returns the metrics of the catalog's backlog, which covers all processes.

    They are in a separate registry: only a process that asks the catalog exposes them.
    """
    registry = CollectorRegistry()
    registry.register(_Backlog(found))
    return registry


class _Backlog(Collector):
    """Makes the metrics anew: as instruments, they would be those of one process of several."""

    def __init__(self, found: Backlog | None) -> None:
        self._found = found

    def collect(self) -> Iterator[GaugeMetricFamily]:
        found = self._found
        yield _gauge(
            "plumbline_catalog_up", "Whether the catalog said what is open.", found is not None
        )
        if found is None:
            return
        yield from _tasks(found)
        yield _gauge(
            "plumbline_dead_letters", "Documents that failed for good.", found.dead_letters
        )
        yield _gauge(
            "plumbline_batch_lines_waiting",
            "Lines of batches that wait, or are under way.",
            found.batch_lines,
        )
        if found.batch_seconds_left is not None:
            yield _gauge(
                "plumbline_batch_seconds_left",
                "Until the first open batch expires; none where none is open.",
                found.batch_seconds_left,
            )
        yield _gauge(
            "plumbline_answers_to_score", "Answers that wait to be scored.", found.to_score
        )
        if found.to_score:
            yield _gauge(
                "plumbline_oldest_answer_to_score_age_seconds",
                "Since the oldest of them was given; none where none waits.",
                found.oldest_to_score_seconds,
            )


def _tasks(found: Backlog) -> Iterator[GaugeMetricFamily]:
    labels = ("stage", "priority", "state")
    tasks = GaugeMetricFamily("plumbline_tasks", "Open tasks of all processes.", labels=labels)
    oldest = GaugeMetricFamily(
        "plumbline_oldest_task_age_seconds",
        "Since the oldest task that waits was accepted; none where none does.",
        labels=labels[:2],
    )
    for group in found.groups:
        priority = "bulk" if group.bulk else "interactive"
        tasks.add_metric((group.stage, priority, group.state), group.tasks)
        if group.state == "pending":
            oldest.add_metric((group.stage, priority), group.oldest_seconds)
    yield from (tasks, oldest)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
