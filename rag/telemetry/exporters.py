"""Traces and scores on their way to Langfuse, or to anything that speaks OTLP.

With `rag.telemetry.otlp` the only module that knows OpenTelemetry, and the only one that knows
Langfuse. A journey is recorded while it runs (`rag.telemetry`) and sent when it has ended, by a
process of its own (`rag.telemetry.background_sender`): no request waits for it, which of them are
sent can be decided by how they ended, and what is masked is masked here.

Attributes are Langfuse's (https://langfuse.com/integrations/native/opentelemetry), and beside them
OpenTelemetry's for generative AI (https://opentelemetry.io/docs/specs/semconv/gen-ai/).
"""

from __future__ import annotations

import base64
import json
import logging
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import httpx
from langfuse.api import CreateScoreBatchResults, CreateScoreRequest, LangfuseAPI, ScoreDataType
from langfuse.api.core import ApiError
from langfuse.api.core.request_options import RequestOptions
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
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

from rag.privacy.policy import Privacy
from rag.telemetry.background_sender import REQUEST_SECONDS, Arrived
from rag.telemetry.otlp import Receiver
from rag.telemetry.trace import Experiment, Kind, Score, Span, Trace

MAX_TEXT = 500
"""Characters of a score that is a text: what Langfuse takes."""
_OPERATIONS: Mapping[Kind, str] = {
    "embedding": "embeddings",
    "generation": "chat",
    "retriever": "retrieval",
}
_log = logging.getLogger(__name__)
logging.getLogger("opentelemetry.exporter.otlp").setLevel(logging.CRITICAL)  # it tells each time


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """What is sent: `privacy` says what becomes of questions, passages and answers."""

    privacy: Privacy
    environment: str
    release: str


Scores = tuple[Score, ...]


class Exporter:
    """Sends traces and scores to one place; for a process that does nothing else."""

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        sending: Sending,
        send_scores: Callable[[Scores], int] | None = None,
    ) -> None:
        """Make an exporter.

        Args:
            url: of OTLP over HTTP, with its path: …/v1/traces.
            headers: sent along, for authorization.
            sending: what is sent.
            send_scores: sends scores, and says how many arrived; None: nobody there takes them.
        """
        self._receiver = Receiver(url, headers=headers, seconds=REQUEST_SECONDS)
        self._writer = _Writer(sending)
        self._send_scores = send_scores

    def __call__(self, parcels: Sequence[bytes]) -> Arrived:
        """Sends pickled traces and scores."""
        items = [pickle.loads(data) for data in parcels]  # noqa: S301 - our own parent's
        traces = [item for item in items if isinstance(item, Trace)]
        scores = tuple(score for item in items if isinstance(item, tuple) for score in item)
        return Arrived(
            spans=_attempt(self._export, traces),
            scores=_attempt(self._send_scores, scores),
            fault=self._receiver.fault,
        )

    def _export(self, traces: Sequence[Trace]) -> int:
        spans = [span for trace in traces for span in self._writer.write(trace)]
        lost = self._receiver.send(spans)
        return 0 if lost == len(spans) else sum(1 + len(trace.spans) for trace in traces) - lost


def _attempt(send: Callable[[Any], int] | None, items: Sequence[object]) -> int:
    """How many arrived. Traces are not lost with scores that cannot be written, nor these so."""
    try:
        return send(items) if send and items else 0
    except Exception as error:  # noqa: BLE001 - the process outlives what cannot be written
        # Without its message, which may hold what was to be masked.
        _log.error("Traces or scores cannot be written: %s.", type(error).__name__)
        return 0


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

    def write(self, trace: Trace) -> list[ReadableSpan]:
        """A journey's spans, the root among them."""
        self._ended.spans = []
        self._ids.trace_id = int(trace.id, 16)
        shared, begin = self._shared(trace), self._begin
        made = {trace.root: begin(trace.root, trace.tenant, _caller(trace), shared)}
        for span in trace.spans:
            if span.parent in made:
                parent = set_span_in_context(made[span.parent])
                made[span] = begin(span, trace.tenant, parent, shared)
        for span, theirs in made.items():
            # What was not closed ended with the journey.
            theirs.end(end_time=span.end or trace.root.end)
        return self._ended.spans

    def _begin(self, span: Span, tenant: str, parent: Any, shared: Mapping[str, Any]) -> Any:
        self._ids.span_id = int(span.id, 16)
        theirs = self._tracer.start_span(
            span.name,
            context=parent,
            kind=SpanKind.INTERNAL if span.parent else SpanKind.SERVER,
            attributes={**shared, **self._attributes(span, tenant)},
            start_time=span.start,
        )
        if span.error:
            theirs.set_status(Status(StatusCode.ERROR, span.error))
        return theirs

    def _shared(self, trace: Trace) -> dict[str, Any]:
        theirs = {"user.id": trace.user, "session.id": trace.session, "tags": list(trace.tags)}
        # Callers may name people by their addresses.
        allowed = self._sending.privacy.content(theirs, trace.tenant)
        told = allowed if isinstance(allowed, dict) else {}
        shared: dict[str, Any] = {
            **{name: told[name] for name in ("user.id", "session.id") if told.get(name)},
            "langfuse.trace.name": trace.root.attributes.get("operation", trace.root.name),
            "langfuse.trace.metadata.tenant": trace.tenant,
            "langfuse.environment": self._sending.environment,
            "langfuse.release": self._sending.release,
        }
        if trace.experiment:
            shared |= self._experiment(trace, trace.experiment)
        if trace.outcome:  # else others of its spans tell it
            degraded = [f"degraded: {told.partition(':')[0]}" for told in trace.degraded]
            shared["langfuse.trace.tags"] = [trace.outcome, *degraded, *told.get("tags", ())]
            shared["langfuse.trace.metadata.outcome"] = trace.outcome
        return shared

    def _experiment(self, trace: Trace, experiment: Experiment) -> dict[str, str]:
        """As Langfuse's own client marks the spans of an item of an experiment."""
        told = {
            "langfuse.experiment.id": experiment.id,
            "langfuse.experiment.name": experiment.name,
            "langfuse.experiment.dataset.id": experiment.dataset,
            "langfuse.experiment.item.id": experiment.item_id,
            "langfuse.experiment.item.root_observation_id": trace.root.id,
        }
        expected = "langfuse.experiment.item.expected_output"
        return told | self._content(expected, list(experiment.expected), trace.tenant)

    def _attributes(self, span: Span, tenant: str) -> dict[str, Any]:
        told: dict[str, Any] = {"langfuse.observation.type": span.kind}
        if operation := _OPERATIONS.get(span.kind):
            told["gen_ai.operation.name"] = operation
        for name, value in span.attributes.items():
            told[f"langfuse.observation.metadata.{name}"] = value
        if span.error:
            told["langfuse.observation.level"] = "ERROR"
            told["langfuse.observation.status_message"] = span.error
        if span.kind in ("generation", "embedding"):
            told |= _of_model(span.attributes)
        for side, content in (("input", span.input), ("output", span.output)):
            if content is not None:
                told |= self._content(f"langfuse.observation.{side}", content, tenant)
        return told

    def _content(self, name: str, content: Any, tenant: str) -> dict[str, str]:
        """What may be sent of it: as JSON, or as it is where it is a text."""
        allowed = self._sending.privacy.content(content, tenant)
        if allowed is None:
            return {}
        text = allowed if isinstance(allowed, str) else json.dumps(allowed, ensure_ascii=False)
        return {name: text}


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


def _of_model(told: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "model" in told:
        found["langfuse.observation.model.name"] = told["model"]
        found["gen_ai.request.model"] = told["model"]
    if "input_tokens" in told:
        counts = {"input": told["input_tokens"], "output": told["output_tokens"]}
        found["langfuse.observation.usage_details"] = json.dumps(counts)
        found["gen_ai.usage.input_tokens"] = counts["input"]
        found["gen_ai.usage.output_tokens"] = counts["output"]
    if told.get("cost"):
        found["langfuse.observation.cost_details"] = json.dumps({"total": told["cost"]})
    if "first_token_ns" in told:
        began = datetime.fromtimestamp(told["first_token_ns"] / 1e9, UTC)
        found["langfuse.observation.completion_start_time"] = json.dumps(began.isoformat())
    parameters = {name: told[name] for name in ("max_tokens", "temperature") if name in told}
    if parameters:
        found["langfuse.observation.model.parameters"] = json.dumps(parameters)
        found |= {f"gen_ai.request.{name}": value for name, value in parameters.items()}
    if "template" in told:
        found["langfuse.observation.prompt.name"] = told["template"]
    if isinstance(told.get("template_version"), int):  # which Langfuse's versions are
        found["langfuse.observation.prompt.version"] = told["template_version"]
    return found


def langfuse(url: str, *, public_key: str, secret_key: str, sending: Sending) -> Exporter:
    """To the Langfuse at this address: spans over OTLP, scores by Langfuse's own client."""
    base = url.rstrip("/")
    api = LangfuseAPI(
        base_url=base,
        username=public_key,
        password=secret_key,
        timeout=REQUEST_SECONDS,
        follow_redirects=False,  # a POST would become a GET, and what that finds look like success
    )
    secret = base64.b64encode(f"{public_key}:{secret_key}".encode()).decode()
    return Exporter(
        f"{base}/api/public/otel/v1/traces",
        headers={"Authorization": f"Basic {secret}", "x-langfuse-ingestion-version": "4"},
        sending=sending,
        send_scores=lambda scores: _create_scores(api, scores, sending),
    )


def _create_scores(api: LangfuseAPI, scores: Scores, sending: Sending) -> int:
    once = RequestOptions(max_retries=0)  # what waits behind is not to wait longer
    request = [_score_request(score, sending) for score in scores]
    try:
        made = api.scores.create(request=request, request_options=once)
    except (ApiError, httpx.HTTPError):  # away, or it refuses: told once, as with traces
        return 0
    if isinstance(made, CreateScoreBatchResults):
        return min(max(0, made.accepted), len(scores))
    return len(scores)


def _score_request(score: Score, sending: Sending) -> CreateScoreRequest:
    value, kind = score.value, ScoreDataType.NUMERIC
    if isinstance(value, str):
        value, kind = _words(value, score.tenant, sending), ScoreDataType.CORRECTION
        if score.name != "correction":
            value, kind = value[:MAX_TEXT], ScoreDataType.TEXT
    return CreateScoreRequest(
        # The same one again replaces what was said before.
        id=str(uuid5(NAMESPACE_OID, _key(score))),
        name=score.name,
        value=value,
        comment=_words(score.comment, score.tenant, sending) or None,
        trace_id=score.trace_id,
        observation_id=score.span_id or None,
        data_type=kind,
        environment=sending.environment,
    )


def _key(score: Score) -> str:
    """Text that is equal for scores of which the later one replaces the earlier."""
    answer = f"{score.answer_id} " if score.answer_id else ""  # callers may share a trace
    return f"{score.trace_id} {score.span_id} {answer}{score.name}"


def _words(text: str, tenant: str, sending: Sending) -> str:
    return str(sending.privacy.content(text, tenant) or "")
