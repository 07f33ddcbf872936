"""The trace of a request: recorded here, sent by `rag.telemetry.exporters`."""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from rag.errors import RagError
from rag.records import Arm
from rag.telemetry.metering import Meter
from rag.telemetry.stopwatch import Stopwatch
from rag.types import BASE, Usage, add_usage

_log = logging.getLogger(__name__)
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED = 0x01
Kind = Literal["span", "retriever", "embedding", "generation", "evaluator", "guardrail"]
"""Langfuse's types of observations."""
Attribute = str | int | float | bool | tuple[str, ...]


@dataclass(slots=True, eq=False)
class Span:
    """A stage of a request or task; `start` and `end` are nanoseconds since 1970.

    `input` and `output` are content: strings, numbers, lists and dicts of text by users or from
    documents. `attributes` are not content.
    """

    name: str
    kind: Kind = "span"
    parent: Span | None = None
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    start: int = field(default_factory=time.time_ns)
    end: int = 0
    input: Any = None
    output: Any = None
    attributes: dict[str, Attribute] = field(default_factory=dict)
    error: str = ""

    def close(self) -> None:
        """Sets the end time."""
        self.end = time.time_ns()


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """The run and the question of an evaluation that a trace belongs to; `expected` is content."""

    id: str
    name: str
    dataset: str
    item_id: str
    expected: tuple[str, ...]


@dataclass(slots=True)
class Trace:
    """Observes one request or task; nothing is computed from it.

    `stopwatch` times the stages. `degraded` and `usage` are the stages that were left out and the
    tokens that were used, also if the request fails. `outcome` says how it ended: found, answered,
    the reason to abstain, an error's code, cancelled; for a document its outcome. `spans` are its
    stages in the order in which they began, below `root`; `parent_id` is the caller's span that it
    is part of. `user`, `session` and `tags` group it with other traces; the caller sets them, or
    they name a job. `sampled` traces are sent even if they end well. `experiment` is None outside
    evaluations. `variant` names the pipeline that works for it, `arm` is the part of a rollout
    that it belongs to, and a `shadow` is answered besides, for nobody. A `synthetic` one is of the
    synthetic canary. It has `failed` if that was not the caller's fault. `meter` adds up what the
    caller is charged for; like the arm, it stays in this process.
    """

    id: str = field(default_factory=lambda: secrets.token_hex(16))
    parent_id: str = ""
    tenant: str = ""
    user: str = ""
    session: str = ""
    tags: tuple[str, ...] = ()
    sampled: bool = True
    experiment: Experiment | None = None
    variant: str = BASE
    arm: Arm | None = None
    shadow: bool = False
    synthetic: bool = False
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    degraded: list[str] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    outcome: str = ""
    failed: bool = False
    root: Span = field(default_factory=lambda: Span("request"))
    spans: list[Span] = field(default_factory=list)
    meter: Meter = field(default_factory=Meter)

    @property
    def asked(self) -> bool:
        """True if a caller waits for the answer: a user, or the synthetic canary."""
        return self.experiment is None and not self.shadow

    @property
    def live(self) -> bool:
        """True if a user waits for the answer: it counts in metrics, scores and rollouts."""
        return self.asked and not self.synthetic

    @property
    def timings(self) -> dict[str, float]:
        """Milliseconds by stage."""
        return self.stopwatch.milliseconds

    @contextlib.contextmanager
    def span(self, stage: str, kind: Kind = "span") -> Iterator[Span]:
        """Times and records a stage, as a child of the current one; never across a `yield`."""
        span = self.open(stage, kind)
        try:
            with self.inside(span), self.stopwatch.time(stage):
                yield span
        except BaseException as error:
            span.error = type(error).__name__
            raise
        finally:
            span.close()

    def open(self, stage: str, kind: Kind = "span") -> Span:
        """Begins a stage that is closed elsewhere; it is not timed."""
        span = Span(stage, kind, parent=self._under_way())
        self.spans.append(span)
        return span

    def note(self, **attributes: Attribute) -> None:
        """Adds attributes to the current stage."""
        self._under_way().attributes |= attributes

    def _under_way(self) -> Span:
        trace, span = _inside.get() or (self, self.root)
        return span if trace is self else self.root

    @contextlib.contextmanager
    def inside(self, span: Span) -> Iterator[None]:
        """Makes a span the parent of all that begins in the block, also on other servers."""
        token = _inside.set((self, span))
        try:
            yield
        finally:
            _inside.reset(token)

    def traceparent(self, span: Span) -> str:
        """Returns the W3C `traceparent` header for work that continues in this span."""
        return f"00-{self.id}-{span.id}-{self.sampled:02x}"

    def degrade(self, stage: str, cause: RagError | str) -> str:
        """Records that a stage is left out, and why; details go to the log.

        Returns:
            The stage with its cause, as in `Answer.degraded`.
        """
        omission = f"{stage}: {cause}"
        self.degraded.append(omission)
        if isinstance(cause, RagError) and cause.detail:
            # Without the message, in which a server may repeat what was asked.
            _log.warning("Trace %s, %s: %s. %s", self.id, stage, cause.code, cause.detail)
        return omission

    def spend(self, usage: Usage) -> None:
        """Adds the usage of a language model."""
        self.usage = add_usage(self.usage, usage)


def of_template(name: str) -> dict[str, Attribute]:
    """Returns a span's attributes for its prompt template: `answer.v1` is `answer`, version 1.

    A version that is not of that form stays a string.
    """
    stem, _, version = name.partition(".")
    number = version.removeprefix("v")
    return {"template": stem, "template_version": int(number) if number != version else version}


_inside: ContextVar[tuple[Trace, Span] | None] = ContextVar("inside", default=None)
Send = Callable[[Trace], object]
"""Takes a trace that has ended; returns at once."""


def nowhere(_trace: Trace) -> None:
    """Discards a trace, if traces are not collected."""


def trace_of(traceparent: str | None, *, rate: float = 1.0) -> Trace:
    """Returns a trace that continues the caller's W3C `traceparent`; a new one if it is not valid.

    It is sampled if the caller's trace is, which would be incomplete without it. If the caller's
    trace is not, ours is still sampled with probability `rate`. That is decided by a random id, not
    by the caller's trace id, because a caller could choose one that is always or never sampled.
    """
    match = _TRACEPARENT.fullmatch(traceparent or "")
    if match is None:
        trace = Trace()
        trace.sampled = is_sampled(trace.id, rate)
        return trace
    chosen = bool(int(match[3], 16) & _SAMPLED) or is_sampled(secrets.token_hex(16), rate)
    return Trace(id=match[1], parent_id=match[2], sampled=chosen)


def is_sampled(trace_id: str, rate: float) -> bool:
    """Returns True for a share `rate` of all ids, as OpenTelemetry's TraceIdRatioBased does.

    The id alone decides, so that all processes decide alike.
    """
    return int(trace_id[16:], 16) < rate * 2**64


def current_meter() -> Meter | None:
    """Returns the meter of the request that the current stage belongs to; None outside."""
    inside = _inside.get()
    return inside and inside[0].meter


def current_session() -> bytes | None:
    """Returns the conversation of the current stage's request, apart from other tenants'.

    None outside a request, and if the caller names no conversation.
    """
    inside = _inside.get()
    if inside is None or not inside[0].session:
        return None
    return f"{inside[0].tenant}\0{inside[0].session}".encode(errors="replace")


def note(**attributes: Attribute) -> None:
    """Adds attributes to the current stage of the current request; outside of one, nothing."""
    if (inside := _inside.get()) is not None:
        inside[1].attributes |= attributes


def trace_headers() -> dict[str, str]:
    """Returns the `traceparent` header for a server used by the current stage; none outside."""
    if (inside := _inside.get()) is None:
        return {}
    trace, span = inside
    return {"traceparent": trace.traceparent(span)}


def trace_json(trace: Trace) -> dict[str, Any]:
    """Returns an ended trace as JSON for another process; `trace_from` reads it."""
    values = {field.name: getattr(trace, field.name) for field in fields(Trace)}
    del values["stopwatch"], values["meter"], values["arm"]
    spans = [_span_json(span) for span in (trace.root, *trace.spans)]
    return values | {
        "timings": trace.timings,
        "usage": asdict(trace.usage),
        "root": None,
        "spans": spans,
    }


def trace_from(values: Mapping[str, Any]) -> Trace:
    """Returns the trace that `trace_json` wrote."""
    spans: dict[str | None, Span] = {}
    for each in values["spans"]:  # parents come first
        spans[each["id"]] = Span(**{**each, "parent": spans.get(each["parent"])})
    root, *rest = spans.values()
    others = {name: value for name, value in values.items() if name != "timings"}
    return Trace(
        **others
        | {
            "tags": tuple(values["tags"]),
            "stopwatch": Stopwatch(dict(values["timings"])),
            "usage": Usage(**values["usage"]),
            "root": root,
            "spans": rest,
        }
    )


def _span_json(span: Span) -> dict[str, Any]:
    values = {field.name: getattr(span, field.name) for field in fields(Span)}
    return {**values, "parent": span.parent and span.parent.id}


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A score of an answer: a number, or a text that corrects it.

    It belongs to a span, or to the whole trace if `span_id` is empty. A second score of the same
    name, trace, span and `answer_id` replaces the first. `comment` and text values are content.
    """

    name: str
    value: float | str
    trace_id: str
    tenant: str
    span_id: str = ""
    answer_id: str = ""
    comment: str = ""
