"""Prometheus metrics: counts what happens, with the instruments of `rag.telemetry.instruments`.

Labels have few values: never a question or a document, and only the tenants that `label_tenants`
names.
Each process counts for itself, but for those of one server; vLLM counts in the same registry.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    generate_latest,
    start_http_server,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.values import MultiProcessValue

from rag.errors import ConfigError
from rag.records import Backlog
from rag.telemetry import cache_metrics, instruments
from rag.telemetry.backlog_metrics import backlog_registry
from rag.types import (
    Answer,
    ChatTaskKind,
    ClaimOutcome,
    Delta,
    Hit,
    Priority,
    Reason,
    Usage,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which prometheus_client, at its import, finds a folder for what several processes
count."""
_tenants: set[str] = set()
_OTHERS = "other"
_DOCUMENT_ENDS = ("stored", "unchanged", "duplicate", "skipped", "retried", "failed")
_BY_TENANT: tuple[tuple[Counter, tuple[tuple[str, ...], ...]], ...] = (
    (
        instruments.questions,
        tuple(("search", end) for end in ("found", "no_documents", "cancelled")),
    ),
    (
        instruments.questions,
        tuple(("answer", end) for end in ("answered", "cancelled", *get_args(Reason))),
    ),
    (instruments.questions, tuple(("task", end) for end in ("cancelled", *get_args(ChatTaskKind)))),
    (instruments.tokens, (("input",), ("output",))),
    (instruments.cost, (("answer",), ("judge",))),
    (instruments.budgets, (("soft",), ("hard",))),
    (instruments.outliers, ((),)),
    (instruments.documents, tuple((end,) for end in _DOCUMENT_ENDS)),
)
_KNOWN: tuple[tuple[Counter, Iterable[tuple[str, ...]]], ...] = (
    (
        instruments.degraded,
        (
            (stage,)
            for stage in (
                *("rewrite", "expand", "dense", "rerank", "passages", "claims", "task"),
                "answer_cache",
                "variant",
            )
        ),
    ),
    (instruments.markers, (("supported",), ("unsupported",))),
    (instruments.claims, ((outcome,) for outcome in get_args(ClaimOutcome))),
    (instruments.answer_cache, ((result,) for result in get_args(cache_metrics.CacheResult))),
    (instruments.scored, (("scored",), ("failed",), ("postponed",))),
    (instruments.judged, (("scored",), ("failed",))),
    (instruments.feedback, (("up",), ("down",))),
    (instruments.traces, (("sent",), ("left out",), ("lost",))),
    (instruments.spans, (("sent",), ("lost",))),
    (instruments.sent_scores, (("sent",), ("lost",))),
    (instruments.kept, (("kept",), ("lost",))),
    (
        instruments.limited,
        (
            (f"{owner}-{limit}",)
            for owner in ("tenant", "key", "subject")
            for limit in ("requests", "tokens", "at-once")
        ),
    ),
    (
        instruments.limits_unavailable,
        (
            (unit, decision)
            for unit in ("requests", "tokens")
            for decision in ("open", "closed", "not settled")
        ),
    ),
    (instruments.usage_rows, (("written",), ("lost",), ("interrupted",))),
    (instruments.audit_rows, (("written",), ("lost",))),
    (instruments.webhook_messages, (("delivered",), ("retried",), ("given up",), ("dropped",))),
)
for (
    _counter,
    _values,
) in _KNOWN:  # starts at 0: `increase()` misses a counter that first appears with 1
    for _labels in _values:
        _counter.labels(*_labels)


def label_tenants(tenants: Iterable[str]) -> None:
    """Counts each of these tenants by its name from now on, and the others together.

    If no tenants are given, the label is empty, which is the same to Prometheus as no label.
    """
    _tenants.clear()
    _tenants.update(tenants)
    for tenant in {*_tenants, _label("")}:
        for counter, values in _BY_TENANT:
            for labels in values:
                counter.labels(*labels, tenant)


def _label(tenant: str) -> str:
    if not _tenants:
        return ""
    return tenant if tenant in _tenants else _OTHERS


label_tenants(())


def exposition(found: Backlog | None) -> bytes:
    """Returns all metrics in Prometheus's format, with the catalog's backlog; None: unknown.

    They are those of all processes of a server, if there are several.
    """
    registry = REGISTRY
    if FOLDER_VARIABLE in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry) + generate_latest(backlog_registry(found))


def of_children(counter: Counter) -> Callable[[], None]:
    """Returns what adds one to a counter that the processes of a server show, in their parent.

    The parent's own instruments are not in the folder that its processes share: prometheus_client
    looks for the folder when it is imported, and the parent makes it later.
    """
    (metric,) = counter.describe()
    name, text = metric.name, metric.documentation
    shared = MultiProcessValue()  # type: ignore[no-untyped-call]
    return partial(shared(metric.type, name, f"{name}_total", (), (), text).inc, 1)


def process_ended(pid: int | None) -> None:
    """Leaves what was so only while a process lived out of the metrics of several."""
    mark_process_dead(pid)  # type: ignore[no-untyped-call]


def serve(host: str, port: int) -> None:
    """Serves the metrics to Prometheus on a thread, until the process ends.

    Raises:
        ConfigError: The port is taken, or there is no such address.
    """
    try:
        start_http_server(port, addr=host)
    except OSError as error:
        raise ConfigError(
            f"Prometheus cannot be answered on {host}:{port} (queue.metrics_host, metrics_port):"
            f" {error.strerror}. Each worker on a machine needs a port of its own."
        ) from error


def request(method: str, route: str, status: int, error: str, seconds: float) -> None:
    """Counts one HTTP request; `error` is the problem's code, empty if there is none."""
    instruments.requests.labels(method, route, str(status), error).observe(seconds)


@dataclass(slots=True)
class Question:
    """A search or an answer in progress; it is counted only if it is `live`."""

    operation: str
    tenant: str
    live: bool = True
    outcome: str = "cancelled"
    answer: Answer | None = None

    def __enter__(self) -> Question:
        if self.live:
            instruments.under_way.inc()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            instruments.under_way.dec()
            instruments.questions.labels(self.operation, self.outcome, _label(self.tenant)).inc()

    def found(self, hits: Sequence[Hit]) -> None:
        """Records the end of a search."""
        self.outcome = "found" if hits else "no_documents"

    def answered(self, answer: Answer) -> None:
        """Records that an answer was given."""
        self.answer = answer
        self.outcome = answer.reason or "answered"
        if self.live:
            instruments.markers.labels("supported").inc(len(answer.citations))
            instruments.markers.labels("unsupported").inc(len(answer.unsupported))
            if route := answer.route:
                instruments.routes.labels(route.name, route.escalated_from or "").inc()
            for claim in answer.claims:
                instruments.claims.labels(claim.outcome).inc()


@contextlib.contextmanager
def queued(priority: Priority) -> Iterator[None]:
    """Counts a question as waiting within the block, and observes how long that was."""
    gauge, began = instruments.queued.labels(priority), time.perf_counter()
    gauge.inc()
    try:
        yield
    finally:
        gauge.dec()
        instruments.waits.labels(priority).observe(time.perf_counter() - began)


def stages(
    milliseconds: Iterable[tuple[str, float]], degraded: Iterable[str], usage: Usage, tenant: str
) -> None:
    """Counts the data of a question's trace once it has ended: `degraded` as in `Answer`."""
    for stage, spent in milliseconds:
        instruments.stages.labels(stage).observe(spent / 1e3)
    for omission in degraded:
        instruments.degraded.labels(omission.partition(":")[0]).inc()
    for kind, count in (("input", usage.input_tokens), ("output", usage.output_tokens)):
        instruments.tokens.labels(kind, _label(tenant)).inc(count)
    cost("answer", usage.cost, tenant)


class Pace:
    """The speed of a language model, measured from its call; counted only if it is `live`."""

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._called = self._first = time.perf_counter()
        self._silent = True
        self.first_ns: int | None = None
        """Time at which the first text arrived, in nanoseconds since 1970."""

    def add(self, delta: Delta) -> None:
        """Records that a piece of the text, or its end, arrived."""
        if delta.model is None:
            return
        if self._silent:
            self._silent = False
            self.first_ns = time.time_ns()
            self._first = time.perf_counter()
            if self._live:
                instruments.first_token.labels(delta.model).observe(self._first - self._called)
        if self._live and delta.finish_reason and delta.usage and delta.usage.output_tokens > 1:
            spent = time.perf_counter() - self._first
            instruments.per_token.labels(delta.model).observe(
                spent / (delta.usage.output_tokens - 1)
            )


def batch(model: str, items: int) -> None:
    """Counts a forward pass and its items."""
    instruments.batches.labels(model).observe(items)


def waiting(model: str, *, interactive: int, bulk: int) -> None:
    """Sets the numbers of items that wait for a model now."""
    instruments.waiting.labels(model, "interactive").set(interactive)
    instruments.waiting.labels(model, "bulk").set(bulk)


def document(outcome: str, tenant: str) -> None:
    """Counts a processed document: stored, unchanged, duplicate, skipped, failed, retried."""
    instruments.documents.labels(outcome, _label(tenant)).inc()


def cost(purpose: Literal["answer", "judge"], amount: float, tenant: str) -> None:
    """Adds to the cost of language models."""
    instruments.cost.labels(purpose, _label(tenant)).inc(amount)


def score(name: str, value: float) -> None:
    """Counts a score of a live answer, 0 to 1."""
    instruments.scores.labels(name).observe(value)


def scored(outcome: str) -> None:
    """Counts an answer that was to be scored: scored, failed, or postponed."""
    instruments.scored.labels(outcome).inc()


def judged(outcome: str) -> None:
    """Counts a judgement of an answer by a language model: scored, or failed."""
    instruments.judged.labels(outcome).inc()


def feedback(rating: str) -> None:
    """Counts a user's rating of an answer: up, down."""
    instruments.feedback.labels(rating).inc()


def traces(outcome: str, count: int) -> None:
    """Counts processed traces: sent, left out, lost."""
    instruments.traces.labels(outcome).inc(count)


def traces_lost() -> float:
    """Returns how many traces this process has lost."""
    lost = instruments.traces.labels("lost").collect()
    return sum(sample.value for metric in lost for sample in metric.samples[:1])


def spans(outcome: str, count: int) -> None:
    """Counts processed spans of traces: sent, lost."""
    instruments.spans.labels(outcome).inc(count)


def sent_scores(outcome: str, count: int) -> None:
    """Counts processed scores for Langfuse: sent, lost."""
    instruments.sent_scores.labels(outcome).inc(count)


def answer_kept(outcome: str) -> None:
    """Counts a given answer: kept in the catalog, or lost because it could not be stored."""
    instruments.kept.labels(outcome).inc()


def limited(limit: str) -> None:
    """Counts a request that a limit of its caller refused."""
    instruments.limited.labels(limit).inc()


def limits_unavailable(unit: str, decision: str) -> None:
    """Counts a decision without the store of the limits: open, closed, not settled."""
    instruments.limits_unavailable.labels(unit, decision).inc()


def budget(level: Literal["soft", "hard"], tenant: str) -> None:
    """Counts a request past the warning level of a budget, or refused by it."""
    instruments.budgets.labels(level, _label(tenant)).inc()


def usage_rows(outcome: str, count: int) -> None:
    """Counts rows of the ledger: written, lost, interrupted."""
    instruments.usage_rows.labels(outcome).inc(count)


def usage_outlier(tenant: str) -> None:
    """Counts a request that cost many times its tenant's median."""
    instruments.outliers.labels(_label(tenant)).inc()


def audit_rows(outcome: Literal["written", "lost"], count: int) -> None:
    """Counts rows of the audit log."""
    instruments.audit_rows.labels(outcome).inc(count)


def webhook_message(outcome: Literal["delivered", "retried", "given up", "dropped"]) -> None:
    """Counts an attempt to send a message to a webhook, or a message that nobody is left to get."""
    instruments.webhook_messages.labels(outcome).inc()
