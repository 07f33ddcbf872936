"""Traces on their way to Langfuse, or to anything that speaks OTLP.

The only module that knows OpenTelemetry. A journey is recorded while it runs (`rag.telemetry`) and
sent when it has ended, by a thread of its own: no request waits for it, which of them are sent can
be decided by how they ended, and what is masked is masked here.

Attributes are Langfuse's (https://langfuse.com/integrations/native/opentelemetry), and beside them
OpenTelemetry's for generative AI (https://opentelemetry.io/docs/specs/semconv/gen-ai/).
"""

from __future__ import annotations

import base64
import json
import logging
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from rag import metrics
from rag.masking import Masker
from rag.telemetry import Kind, Span, Trace

Capture = Literal["off", "masked", "full"]
MAX_WAITING = 512
"""Traces that may wait; what comes past it is lost, and counted."""
AT_ONCE = 32
"""Traces in one request."""
SECONDS = 5.0
"""One request may take."""
UNREADABLE = "[masking failed]"
_OPERATIONS: Mapping[Kind, str] = {
    "embedding": "embeddings",
    "generation": "chat",
    "retriever": "retrieval",
}
_log = logging.getLogger(__name__)
logging.getLogger("opentelemetry.exporter.otlp").setLevel(logging.CRITICAL)  # it tells each time


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """What is sent of traces: `capture` says what becomes of questions, passages and answers."""

    capture: Capture
    masker: Masker
    environment: str
    release: str


class TraceSender:
    """Takes traces and sends them in the background, to one place."""

    def __init__(self, url: str, *, headers: Mapping[str, str], sending: Sending) -> None:
        """Starts the thread.

        Args:
            url: of OTLP over HTTP, with its path: …/v1/traces.
            headers: sent along, for authorization.
            sending: what is sent.
        """
        self._sending = sending
        self._waiting: queue.Queue[tuple[Trace, str] | None] = queue.Queue(MAX_WAITING)
        self._exporter = OTLPSpanExporter(endpoint=url, headers=dict(headers), timeout=SECONDS)
        self._reached = True
        self._writer = _Writer(sending)
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def send(self, trace: Trace, tenant: str) -> None:
        """Takes a journey that has ended; returns at once. It is lost where too many wait.

        Of those that are not sampled, the ones that failed or were degraded are taken all the same.
        """
        if not (trace.sampled or trace.root.error or trace.degraded):
            metrics.trace("left out")
            return
        try:
            self._waiting.put_nowait((trace, tenant))
        except queue.Full:
            metrics.trace("lost")

    def close(self) -> None:
        """Sends what waits, for as long as one request may take."""
        try:
            self._waiting.put(None, timeout=SECONDS)
        except queue.Full:
            _log.warning("Traces are left behind: %s.", self._waiting.qsize())
        self._thread.join(2 * SECONDS)
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _run(self) -> None:
        while True:
            batch = list(self._next())
            traces = [item for item in batch if item is not None]
            if traces:
                self._export(traces)
            if len(traces) < len(batch):
                return

    def _next(self) -> Iterator[tuple[Trace, str] | None]:
        """What waits, at least one and not past the end."""
        item = self._waiting.get()
        yield item
        for _ in range(AT_ONCE - 1):
            if item is None or self._waiting.empty():
                return
            item = self._waiting.get()
            yield item

    def _export(self, traces: Sequence[tuple[Trace, str]]) -> None:
        try:
            spans = [span for trace, tenant in traces for span in self._writer.write(trace, tenant)]
            reached = self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception as error:  # noqa: BLE001 - the thread outlives what cannot be written
            _log.error("Traces cannot be written: %s.", type(error).__name__)
            reached = False
        for _ in traces:
            metrics.trace("sent" if reached else "lost")
        if self._reached and not reached:  # once, and not for each batch
            _log.warning("Traces cannot be sent and are lost until they can be: is the server up?")
        self._reached = reached


class _Ids(IdGenerator):
    """Our own ids: an answer names its trace, and scores name spans."""

    trace_id = span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id


class _Ended(SpanProcessor):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


class _Writer:
    """Makes OpenTelemetry's spans of ours; one thread's."""

    def __init__(self, sending: Sending) -> None:
        self._sending = sending
        self._ids, self._ended = _Ids(), _Ended()
        resource = Resource.create(
            {"service.name": "plumbline", "service.version": sending.release}
        )
        provider = TracerProvider(
            sampler=ALWAYS_ON,  # what is sent was chosen already
            resource=resource,
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        provider.add_span_processor(self._ended)
        self._tracer = provider.get_tracer("plumbline")

    def write(self, trace: Trace, tenant: str) -> list[ReadableSpan]:
        """A journey's spans, the root among them."""
        self._ended.spans = []
        self._ids.trace_id = int(trace.id, 16)
        shared = self._shared(trace, tenant)
        made = {trace.root: self._begin(trace.root, _caller(trace), shared, SpanKind.SERVER)}
        for span in trace.spans:
            if span.parent in made:
                parent = set_span_in_context(made[span.parent])
                made[span] = self._begin(span, parent, shared, SpanKind.INTERNAL)
        for span, theirs in made.items():
            # What was not closed ended with the journey.
            theirs.end(end_time=span.end or trace.root.end)
        return self._ended.spans

    def _begin(self, span: Span, parent: Any, shared: Mapping[str, Any], kind: SpanKind) -> Any:
        attributes = {**shared, **self._attributes(span)}
        self._ids.span_id = int(span.id, 16)
        theirs = self._tracer.start_span(
            span.name, context=parent, kind=kind, attributes=attributes, start_time=span.start
        )
        if span.error:
            theirs.set_status(Status(StatusCode.ERROR, span.error))
        return theirs

    def _shared(self, trace: Trace, tenant: str) -> dict[str, Any]:
        shared: dict[str, Any] = {
            "langfuse.trace.name": trace.root.attributes.get("operation", trace.root.name),
            "langfuse.trace.metadata.tenant": tenant,
            "langfuse.environment": self._sending.environment,
            "langfuse.release": self._sending.release,
        }
        if trace.session:
            shared["langfuse.session.id"] = trace.session
        if trace.outcome:  # else others of its spans tell it
            degraded = [f"degraded: {told.partition(':')[0]}" for told in trace.degraded]
            shared["langfuse.trace.tags"] = [trace.outcome, *degraded]
            shared["langfuse.trace.metadata.outcome"] = trace.outcome
        return shared

    def _attributes(self, span: Span) -> dict[str, Any]:
        told: dict[str, Any] = {"langfuse.observation.type": span.kind}
        if operation := _OPERATIONS.get(span.kind):
            told["gen_ai.operation.name"] = operation
        for name, value in span.attributes.items():
            told[f"langfuse.observation.metadata.{name}"] = value
        if span.error:
            told["langfuse.observation.level"] = "ERROR"
            told["langfuse.observation.status_message"] = span.error
        if span.kind == "generation":
            told |= _of_generation(span.attributes)
        for side, content in (("input", span.input), ("output", span.output)):
            if content is not None and self._sending.capture != "off":
                told[f"langfuse.observation.{side}"] = self._content(content)
        return told

    def _content(self, content: Any) -> str:
        """As JSON, or as it is where it is a text; unreadable where masking fails."""
        if self._sending.capture == "masked":
            try:
                content = self._sending.masker.content(content)
            except Exception as error:  # noqa: BLE001 - whatever it was, nothing goes out unmasked
                # Without its message, which may hold what was to be masked.
                _log.error("Masking failed (%s): left out of a trace.", type(error).__name__)
                return UNREADABLE
        return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def _caller(trace: Trace) -> Any:
    """The span that the journey is part of, where somebody else began it."""
    if not trace.parent_id:
        return None
    caller = SpanContext(
        trace_id=int(trace.id, 16),
        span_id=int(trace.parent_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )
    return set_span_in_context(NonRecordingSpan(caller))


def _of_generation(told: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "model" in told:
        found["langfuse.observation.model.name"] = told["model"]
        found["gen_ai.request.model"] = told["model"]
    if "input_tokens" in told:
        counts = {"input": told["input_tokens"], "output": told["output_tokens"]}
        found["langfuse.observation.usage_details"] = json.dumps(counts)
        found["gen_ai.usage.input_tokens"] = counts["input"]
        found["gen_ai.usage.output_tokens"] = counts["output"]
    if "first_token_ns" in told:
        began = datetime.fromtimestamp(told["first_token_ns"] / 1e9, UTC)
        found["langfuse.observation.completion_start_time"] = json.dumps(began.isoformat())
    parameters = {name: told[name] for name in ("max_tokens", "temperature") if name in told}
    if parameters:
        found["langfuse.observation.model.parameters"] = json.dumps(parameters)
        found["gen_ai.request.max_tokens"] = parameters["max_tokens"]
        found["gen_ai.request.temperature"] = parameters["temperature"]
    if "template" in told:
        found["langfuse.observation.prompt.name"] = told["template"]
    return found


def langfuse(url: str, *, public_key: str, secret_key: str, sending: Sending) -> TraceSender:
    """A sender to a Langfuse at this address."""
    secret = base64.b64encode(f"{public_key}:{secret_key}".encode()).decode()
    headers = {"Authorization": f"Basic {secret}", "x-langfuse-ingestion-version": "4"}
    target = f"{url.rstrip('/')}/api/public/otel/v1/traces"
    return TraceSender(target, headers=headers, sending=sending)
