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
from rag.types import Usage

_log = logging.getLogger(__name__)
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED = 0x01
Kind = Literal["span", "retriever", "embedding", "generation", "evaluator", "guardrail"]
"""Langfuse's types of observations."""
Attribute = str | int | float | bool | tuple[str, ...]


@dataclass(slots=True, eq=False)
class Span:
    """A stage of a journey: nanoseconds since 1970, what it was given, and what came of it.

    `input` and `output` are content: strings, numbers, lists and dicts of what people wrote and
    documents hold. `attributes` are none.
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
        """It has ended."""
        self.end = time.time_ns()


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """Which question of which run of an evaluation a trace is of; `expected` is content."""

    id: str
    name: str
    dataset: str
    item_id: str
    expected: tuple[str, ...]


@dataclass(slots=True)
class Trace:
    """One journey: its id, milliseconds by stage, what had to be left out, tokens spent.

    `outcome` says how it ended: found, answered, the reason to abstain, an error's code, cancelled;
    of a document what became of it. `spans` are its stages in the order in which they began, below
    `root`; `parent_id` is the caller's span that it is part of. `user`, `session` and `tags` are
    what it shares with other traces: the caller says so, or it is a job. `sampled` ones are sent
    even where they end well. `experiment` is None for all that is no evaluation.
    """

    id: str = field(default_factory=lambda: secrets.token_hex(16))
    parent_id: str = ""
    tenant: str = ""
    user: str = ""
    session: str = ""
    tags: tuple[str, ...] = ()
    sampled: bool = True
    experiment: Experiment | None = None
    timings: dict[str, float] = field(default_factory=dict)
    degraded: list[str] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    outcome: str = ""
    root: Span = field(default_factory=lambda: Span("request"))
    spans: list[Span] = field(default_factory=list)

    @contextlib.contextmanager
    def span(self, stage: str, kind: Kind = "span") -> Iterator[Span]:
        """Times and records a stage, inside the one that is under way; never across a `yield`."""
        span = self.open(stage, kind)
        try:
            with self.inside(span), self.time(stage):
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
        """Tells something of the stage that is under way."""
        self._under_way().attributes |= attributes

    def _under_way(self) -> Span:
        trace, span = _inside.get() or (self, self.root)
        return span if trace is self else self.root

    @contextlib.contextmanager
    def inside(self, span: Span) -> Iterator[None]:
        """What begins in the block is part of this span, also what is asked of other servers."""
        token = _inside.set((self, span))
        try:
            yield
        finally:
            _inside.reset(token)

    def traceparent(self, span: Span) -> str:
        """W3C's header for who goes on in this span."""
        return f"00-{self.id}-{span.id}-{self.sampled:02x}"

    @contextlib.contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Times a part of a stage; parts add up."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = (time.perf_counter() - start) * 1e3
            self.timings[stage] = round(self.timings.get(stage, 0.0) + spent, 3)

    def degrade(self, stage: str, cause: RagError | str) -> None:
        """Says that a stage was left out of the answer, and why; details go to the log."""
        self.degraded.append(f"{stage}: {cause}")
        if isinstance(cause, RagError) and cause.detail:
            # Without the message, in which a server may repeat what was asked.
            _log.warning("Trace %s, %s: %s. %s", self.id, stage, cause.code, cause.detail)

    def spend(self, usage: Usage) -> None:
        """Adds tokens that went through a language model."""
        self.usage = add_usage(self.usage, usage)


def add_usage(first: Usage, second: Usage) -> Usage:
    """The sum; it is estimated where one of them is."""
    return Usage(
        input_tokens=first.input_tokens + second.input_tokens,
        output_tokens=first.output_tokens + second.output_tokens,
        cost=first.cost + second.cost,
        estimated=first.estimated or second.estimated,
    )


def of_template(name: str) -> dict[str, Attribute]:
    """What a span tells of its prompt: `answer.v1` is `answer` in version 1, a number.

    A version that is none is told as it is.
    """
    stem, _, version = name.partition(".")
    number = version.removeprefix("v")
    told = int(number) if number != version else version
    return {"template": stem, "template_version": told}


_inside: ContextVar[tuple[Trace, Span] | None] = ContextVar("inside", default=None)
Send = Callable[[Trace], object]
"""Takes a trace that has ended; returns at once."""


def nowhere(_trace: Trace) -> None:
    """Where traces go that nobody collects."""


def trace_of(traceparent: str | None, *, rate: float = 1.0) -> Trace:
    """The caller's trace, by its W3C `traceparent`; a new one where there is no valid one.

    It is sampled where the caller's is, which would have a hole without it. Where the caller's is
    not, that says nothing of whether anybody wants ours: it is one of the share `rate` or not, by
    an id of our own, since a caller could choose one that is always or never among them.
    """
    match = _TRACEPARENT.fullmatch(traceparent or "")
    if match is None:
        trace = Trace()
        trace.sampled = is_sampled(trace.id, rate)
        return trace
    chosen = bool(int(match[3], 16) & _SAMPLED) or is_sampled(secrets.token_hex(16), rate)
    return Trace(id=match[1], parent_id=match[2], sampled=chosen)


def is_sampled(trace_id: str, rate: float) -> bool:
    """By the id alone, so that all processes decide alike: as OpenTelemetry's TraceIdRatioBased."""
    return int(trace_id[16:], 16) < rate * 2**64


def trace_headers() -> dict[str, str]:
    """For a server that works for the stage that is under way: `traceparent`, or none outside."""
    if (inside := _inside.get()) is None:
        return {}
    trace, span = inside
    return {"traceparent": trace.traceparent(span)}


def trace_json(trace: Trace) -> dict[str, Any]:
    """A trace that has ended, for another process; `trace_from` reads it."""
    fields_ = {field.name: getattr(trace, field.name) for field in fields(Trace)}
    spans = [_span_json(span) for span in (trace.root, *trace.spans)]
    return {**fields_, "root": None, "spans": spans, "usage": asdict(trace.usage)}


def trace_from(told: Mapping[str, Any]) -> Trace:
    """The trace that `trace_json` wrote."""
    spans: dict[str | None, Span] = {}
    for each in told["spans"]:  # parents come first
        spans[each["id"]] = Span(**{**each, "parent": spans.get(each["parent"])})
    root, *rest = spans.values()
    usage = Usage(**told["usage"])
    return Trace(
        **{**told, "tags": tuple(told["tags"]), "root": root, "spans": rest, "usage": usage}
    )


def _span_json(span: Span) -> dict[str, Any]:
    told = {field.name: getattr(span, field.name) for field in fields(Span)}
    return {**told, "parent": span.parent and span.parent.id}


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What was found of an answer: a number, or words that correct it.

    It is of a span, or of the whole trace where `span_id` is empty. A second score of the same
    name, trace, span and `answer_id` replaces the first. `comment` and words are content.
    """

    name: str
    value: float | str
    trace_id: str
    tenant: str
    span_id: str = ""
    answer_id: str = ""
    comment: str = ""
