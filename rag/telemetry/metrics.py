"""Prometheus metrics: the only module that imports prometheus_client.

Names are OpenTelemetry's if it defines one
(https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/), else `plumbline_…`. Labels
have few values: never a question or a document, and only the tenants that `label_tenants` names.
Each process counts for itself; vLLM counts in the same registry.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    start_http_server,
)

from rag.errors import ConfigError
from rag.records import Backlog
from rag.types import Answer, ChatTaskKind, Delta, Hit, Reason, Usage

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0),
)
_FIRST_TOKEN = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 30.0),
)
_PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_MODEL = "gen_ai_request_model"

_requests = Histogram(
    "http_server_request_duration_seconds",
    "From the first byte of a request to the last of its response.",
    ["http_request_method", "http_route", "http_response_status_code", "error_type"],
    buckets=_SECONDS,
)
_questions = Counter(
    "plumbline_questions",
    "Searches, answers and tasks of chat UIs by how they ended: found, answered, the reason to"
    " abstain, the kind of the task, the error.",
    ["operation", "outcome", "tenant"],
)
_under_way = Gauge(
    "plumbline_questions_under_way", "Searches, answers and tasks that have not ended."
)
_stages = Histogram(
    "plumbline_stage_duration_seconds",
    "What a stage took of a question.",
    ["stage"],
    buckets=_SECONDS,
)
_degraded = Counter(
    "plumbline_degraded", "Questions that a stage had to be left out of.", ["stage"]
)
_markers = Counter(
    "plumbline_citations",
    "Markers of answers: those that hold, and those taken out as unsupported.",
    ["outcome"],
)
_first_token = Histogram(
    "gen_ai_server_time_to_first_token_seconds",
    "From the prompt to the first piece of the text.",
    [_MODEL],
    buckets=_FIRST_TOKEN,
)
_per_token = Histogram(
    "gen_ai_server_time_per_output_token_seconds",
    "Of each token after the first.",
    [_MODEL],
    buckets=_PER_TOKEN,
)
_tokens = Counter(
    "gen_ai_client_token_usage", "Tokens through language models.", ["gen_ai_token_type", "tenant"]
)
_batches = Histogram(
    "plumbline_batch_items", "Items that went through a model together.", ["model"], buckets=_ITEMS
)
_waiting = Gauge("plumbline_batch_waiting", "Items that wait for a model.", ["model", "priority"])
_cached = Counter("plumbline_cache_lookups", "Texts looked up in a cache.", ["cache", "result"])
_documents = Counter(
    "plumbline_documents",
    "Documents this process is done with, by outcome.",
    ["outcome", "tenant"],
)
_cost = Counter(
    "plumbline_cost",
    "What language models cost, in the currency of the settings' prices.",
    ["purpose", "tenant"],
)
_scores = Histogram(
    "plumbline_score",
    "Scores of live answers, 0 to 1, of a sampled share.",
    ["score"],
    buckets=_SHARES,
)
_scored = Counter(
    "plumbline_answers_scored",
    "Answers that were to be scored: scored, failed, or postponed.",
    ["outcome"],
)
_judged = Counter(
    "plumbline_judgements", "Answers a language model judged: scored, failed.", ["outcome"]
)
_feedback = Counter("plumbline_feedback", "What people said of answers: up, down.", ["rating"])
_traces = Counter(
    "plumbline_traces", "Traces: sent, left out by the rate, or lost on the way.", ["outcome"]
)
_spans = Counter("plumbline_spans", "Spans of traces: sent, or lost on the way.", ["outcome"])
_sent_scores = Counter(
    "plumbline_scores_sent", "Scores for Langfuse: sent, or lost on the way.", ["outcome"]
)
_kept = Counter(
    "plumbline_answers_kept",
    "Answers for feedback and scores: in the catalog, or lost on the way there.",
    ["outcome"],
)
_limited = Counter("plumbline_limited", "Requests refused by a limit of their caller.", ["limit"])
_limits_unavailable = Counter(
    "plumbline_limits_unavailable",
    "Decisions without the store of the limits: open, closed, or not settled.",
    ["unit", "decision"],
)
_budgets = Counter(
    "plumbline_budget",
    "Requests past the warning level of a budget, and requests refused by it.",
    ["level", "tenant"],
)
_usage_rows = Counter(
    "plumbline_usage_rows",
    "Rows of the ledger: written, lost on the way, interrupted by the end of their process.",
    ["outcome"],
)
_outliers = Counter(
    "plumbline_usage_outliers", "Requests that cost many times their tenant's median.", ["tenant"]
)
_audit_rows = Counter(
    "plumbline_audit_rows", "Rows of the audit log: written, or lost on the way.", ["outcome"]
)

_tenants: set[str] = set()
_OTHERS = "other"
_DOCUMENT_ENDS = ("stored", "unchanged", "duplicate", "skipped", "retried", "failed")
_BY_TENANT: tuple[tuple[Counter, tuple[tuple[str, ...], ...]], ...] = (
    (_questions, tuple(("search", end) for end in ("found", "no_documents", "cancelled"))),
    (_questions, tuple(("answer", end) for end in ("answered", "cancelled", *get_args(Reason)))),
    (_questions, tuple(("task", end) for end in ("cancelled", *get_args(ChatTaskKind)))),
    (_tokens, (("input",), ("output",))),
    (_cost, (("answer",), ("judge",))),
    (_budgets, (("soft",), ("hard",))),
    (_outliers, ((),)),
    (_documents, tuple((end,) for end in _DOCUMENT_ENDS)),
)
_KNOWN: tuple[tuple[Counter, Iterable[tuple[str, ...]]], ...] = (
    (
        _degraded,
        ((stage,) for stage in ("rewrite", "expand", "dense", "rerank", "passages", "task")),
    ),
    (_markers, (("supported",), ("unsupported",))),
    (_scored, (("scored",), ("failed",), ("postponed",))),
    (_judged, (("scored",), ("failed",))),
    (_feedback, (("up",), ("down",))),
    (_traces, (("sent",), ("left out",), ("lost",))),
    (_spans, (("sent",), ("lost",))),
    (_sent_scores, (("sent",), ("lost",))),
    (_kept, (("kept",), ("lost",))),
    (
        _limited,
        (
            (f"{owner}-{limit}",)
            for owner in ("tenant", "key", "subject")
            for limit in ("requests", "tokens", "at-once")
        ),
    ),
    (
        _limits_unavailable,
        (
            (unit, decision)
            for unit in ("requests", "tokens")
            for decision in ("open", "closed", "not settled")
        ),
    ),
    (_usage_rows, (("written",), ("lost",), ("interrupted",))),
    (_audit_rows, (("written",), ("lost",))),
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
    """Returns all metrics in Prometheus's format, with the catalog's backlog; None: unknown."""
    return generate_latest(REGISTRY) + generate_latest(_backlog(found))


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
    _requests.labels(method, route, str(status), error).observe(seconds)


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
            _under_way.inc()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            _under_way.dec()
            _questions.labels(self.operation, self.outcome, _label(self.tenant)).inc()

    def found(self, hits: Sequence[Hit]) -> None:
        """Records the end of a search."""
        self.outcome = "found" if hits else "no_documents"

    def answered(self, answer: Answer) -> None:
        """Records that an answer was given."""
        self.answer = answer
        self.outcome = answer.reason or "answered"
        if self.live:
            _markers.labels("supported").inc(len(answer.citations))
            _markers.labels("unsupported").inc(len(answer.unsupported))


def stages(
    milliseconds: Iterable[tuple[str, float]], degraded: Iterable[str], usage: Usage, tenant: str
) -> None:
    """Counts the data of a question's trace once it has ended: `degraded` as in `Answer`."""
    for stage, spent in milliseconds:
        _stages.labels(stage).observe(spent / 1e3)
    for omission in degraded:
        _degraded.labels(omission.partition(":")[0]).inc()
    for kind, count in (("input", usage.input_tokens), ("output", usage.output_tokens)):
        _tokens.labels(kind, _label(tenant)).inc(count)
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
                _first_token.labels(delta.model).observe(self._first - self._called)
        if self._live and delta.finish_reason and delta.usage and delta.usage.output_tokens > 1:
            spent = time.perf_counter() - self._first
            _per_token.labels(delta.model).observe(spent / (delta.usage.output_tokens - 1))


def batch(model: str, items: int) -> None:
    """Counts a forward pass and its items."""
    _batches.labels(model).observe(items)


def waiting(model: str, *, interactive: int, bulk: int) -> None:
    """Sets the numbers of items that wait for a model now."""
    _waiting.labels(model, "interactive").set(interactive)
    _waiting.labels(model, "bulk").set(bulk)


def cache(name: str, *, hits: int, misses: int) -> None:
    """Counts look-ups in a cache."""
    _cached.labels(name, "hit").inc(hits)
    _cached.labels(name, "miss").inc(misses)


def document(outcome: str, tenant: str) -> None:
    """Counts a processed document: stored, unchanged, duplicate, skipped, failed, retried."""
    _documents.labels(outcome, _label(tenant)).inc()


def cost(purpose: Literal["answer", "judge"], amount: float, tenant: str) -> None:
    """Adds to the cost of language models."""
    _cost.labels(purpose, _label(tenant)).inc(amount)


def score(name: str, value: float) -> None:
    """Counts a score of a live answer, 0 to 1."""
    _scores.labels(name).observe(value)


def scored(outcome: str) -> None:
    """Counts an answer that was to be scored: scored, failed, or postponed."""
    _scored.labels(outcome).inc()


def judged(outcome: str) -> None:
    """Counts a judgement of an answer by a language model: scored, or failed."""
    _judged.labels(outcome).inc()


def feedback(rating: str) -> None:
    """Counts a user's rating of an answer: up, down."""
    _feedback.labels(rating).inc()


def traces(outcome: str, count: int) -> None:
    """Counts processed traces: sent, left out, lost."""
    _traces.labels(outcome).inc(count)


def spans(outcome: str, count: int) -> None:
    """Counts processed spans of traces: sent, lost."""
    _spans.labels(outcome).inc(count)


def sent_scores(outcome: str, count: int) -> None:
    """Counts processed scores for Langfuse: sent, lost."""
    _sent_scores.labels(outcome).inc(count)


def answer_kept(outcome: str) -> None:
    """Counts a given answer: kept in the catalog, or lost because it could not be stored."""
    _kept.labels(outcome).inc()


def limited(limit: str) -> None:
    """Counts a request that a limit of its caller refused."""
    _limited.labels(limit).inc()


def limits_unavailable(unit: str, decision: str) -> None:
    """Counts a decision without the store of the limits: open, closed, not settled."""
    _limits_unavailable.labels(unit, decision).inc()


def budget(level: Literal["soft", "hard"], tenant: str) -> None:
    """Counts a request past the warning level of a budget, or refused by it."""
    _budgets.labels(level, _label(tenant)).inc()


def usage_rows(outcome: str, count: int) -> None:
    """Counts rows of the ledger: written, lost, interrupted."""
    _usage_rows.labels(outcome).inc(count)


def usage_outlier(tenant: str) -> None:
    """Counts a request that cost many times its tenant's median."""
    _outliers.labels(_label(tenant)).inc()


def audit_rows(outcome: Literal["written", "lost"], count: int) -> None:
    """Counts rows of the audit log."""
    _audit_rows.labels(outcome).inc(count)


def _backlog(found: Backlog | None) -> CollectorRegistry:
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
