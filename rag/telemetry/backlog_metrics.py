"""Prometheus metrics of the catalog's backlog; see `rag.telemetry.metrics`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge

from rag.records import Backlog


def registry_of(found: Backlog | None) -> CollectorRegistry:
    """Returns the metrics of the catalog's backlog, which covers all processes.

    They are in a separate registry: only a process that asks the catalog exposes them.
    """
    registry = CollectorRegistry()
    up = Gauge("plumbline_catalog_up", "Whether the catalog said what is open.", registry=registry)
    up.set(found is not None)
    if found is None:
        return registry
    tasks = Gauge(
        "plumbline_tasks",
        "Open tasks of all processes.",
        ["stage", "priority", "state"],
        registry=registry,
    )
    oldest = Gauge(
        "plumbline_oldest_task_age_seconds",
        "Since the oldest task that waits was accepted; none where none does.",
        ["stage", "priority"],
        registry=registry,
    )
    dead = Gauge("plumbline_dead_letters", "Documents that failed for good.", registry=registry)
    for group in found.groups:
        priority = "bulk" if group.bulk else "interactive"
        tasks.labels(group.stage, priority, group.state).set(group.tasks)
        if group.state == "pending":
            oldest.labels(group.stage, priority).set(group.oldest_seconds)
    dead.set(found.dead_letters)
    lines = Gauge(
        "plumbline_batch_lines_waiting",
        "Lines of batches that wait, or are under way.",
        registry=registry,
    )
    lines.set(found.batch_lines)
    if found.batch_seconds_left is not None:
        left = Gauge(
            "plumbline_batch_seconds_left",
            "Until the first open batch expires; none where none is open.",
            registry=registry,
        )
        left.set(found.batch_seconds_left)
    to_score = Gauge(
        "plumbline_answers_to_score", "Answers that wait to be scored.", registry=registry
    )
    to_score.set(found.to_score)
    if found.to_score:
        given = Gauge(
            "plumbline_oldest_answer_to_score_age_seconds",
            "Since the oldest of them was given; none where none waits.",
            registry=registry,
        )
        given.set(found.oldest_to_score_seconds)
    return registry
