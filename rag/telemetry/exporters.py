"""Export of traces and scores to Langfuse, or to any receiver of OTLP.

With `rag.telemetry.otlp` the only module that uses OpenTelemetry, and the only one that uses
Langfuse's client. A trace is recorded while its request runs (`rag.telemetry`) and sent after the
end by a separate process (`rag.telemetry.background_sender`). No request waits for it, its outcome
can decide whether it is sent, and content is masked here.

Attributes are Langfuse's (https://langfuse.com/integrations/native/opentelemetry) and
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
"""Maximum number of characters of a text score that Langfuse accepts."""
_OPERATIONS: Mapping[Kind, str] = {
    "embedding": "embeddings",
    "generation": "chat",
    "retriever": "retrieval",
}
_log = logging.getLogger(__name__)
logging.getLogger("opentelemetry.exporter.otlp").setLevel(logging.CRITICAL)  # it logs every failure


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """Settings of the export: `privacy` masks or removes questions, passages and answers."""

    privacy: Privacy
    environment: str
    release: str


Scores = tuple[Score, ...]


class Exporter:
    """Sends traces and scores to one receiver; for a process that does nothing else."""

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        options: ExportOptions,
        send_scores: Callable[[Scores], int] | None = None,
    ) -> None:
        """Makes an exporter.

        Args:
            url: of OTLP over HTTP, with its path: …/v1/traces.
            headers: sent with each request, for authorization.
            options: settings of the export.
            send_scores: sends scores, returns how many arrived; None: the receiver takes none.
        """
        self._receiver = Receiver(url, headers=headers, seconds=REQUEST_SECONDS)
        self._writer = _Writer(options)
        self._send_scores = send_scores

    def __call__(self, parcels: Sequence[bytes]) -> Arrived:
        """Sends pickled traces and scores; returns what arrived."""
        items = [pickle.loads(data) for data in parcels]  # noqa: S301 - sent by our own parent
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
    """Sends items and returns how many arrived; 0 after an error, which is logged.

    So traces are not lost if scores cannot be written, nor scores if traces cannot.
    """
    try:
        return send(items) if send and items else 0
    except Exception as error:  # noqa: BLE001 - a bad item must not end the process
        # Without its message, which may contain what was to be masked.
        _log.error("Traces or scores cannot be written: %s.", type(error).__name__)
        return 0


class _Ids(IdGenerator):
    """Gives spans the ids of our own traces, which answers and scores refer to."""

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
    """Converts our spans to OpenTelemetry's; not thread-safe."""

    def __init__(self, options: ExportOptions) -> None:
        self._options = options
        self._ids, self._ended = _Ids(), _Ended()
        resource = Resource.create(
            {"service.name": "plumbline", "service.version": options.release}
        )
        provider = TracerProvider(
            sampler=ALWAYS_ON,  # the traces to send are chosen already
            resource=resource,
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        provider.add_span_processor(self._ended)
        self._tracer = provider.get_tracer("plumbline")

    def write(self, trace: Trace) -> list[ReadableSpan]:
        """Returns the spans of a trace, including the root."""
        self._ended.spans = []
        self._ids.trace_id = int(trace.id, 16)
        shared, begin = self._shared(trace), self._begin
        made = {trace.root: begin(trace.root, trace.tenant, _caller(trace), shared)}
        for span in trace.spans:
            if span.parent in made:
                parent = set_span_in_context(made[span.parent])
                made[span] = begin(span, trace.tenant, parent, shared)
        for span, theirs in made.items():
            # A span that was not closed ended with the trace.
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
        # Callers may use addresses of people as names, so these are content.
        allowed = self._options.privacy.content(theirs, trace.tenant)
        content = allowed if isinstance(allowed, dict) else {}
        shared: dict[str, Any] = {
            **{name: content[name] for name in ("user.id", "session.id") if content.get(name)},
            "langfuse.trace.name": trace.root.attributes.get("operation", trace.root.name),
            "langfuse.trace.metadata.tenant": trace.tenant,
            "langfuse.environment": self._options.environment,
            "langfuse.release": self._options.release,
        }
        if trace.experiment:
            shared |= self._experiment(trace, trace.experiment)
        if trace.outcome:  # otherwise other spans of the same trace have it
            degraded = [f"degraded: {cause.partition(':')[0]}" for cause in trace.degraded]
            shared["langfuse.trace.tags"] = [trace.outcome, *degraded, *content.get("tags", ())]
            shared["langfuse.trace.metadata.outcome"] = trace.outcome
        return shared

    def _experiment(self, trace: Trace, experiment: Experiment) -> dict[str, str]:
        """Returns the attributes with which Langfuse's client marks spans of an experiment item."""
        attributes = {
            "langfuse.experiment.id": experiment.id,
            "langfuse.experiment.name": experiment.name,
            "langfuse.experiment.dataset.id": experiment.dataset,
            "langfuse.experiment.item.id": experiment.item_id,
            "langfuse.experiment.item.root_observation_id": trace.root.id,
        }
        expected = "langfuse.experiment.item.expected_output"
        return attributes | self._content(expected, list(experiment.expected), trace.tenant)

    def _attributes(self, span: Span, tenant: str) -> dict[str, Any]:
        attributes: dict[str, Any] = {"langfuse.observation.type": span.kind}
        if operation := _OPERATIONS.get(span.kind):
            attributes["gen_ai.operation.name"] = operation
        for name, value in span.attributes.items():
            attributes[f"langfuse.observation.metadata.{name}"] = value
        if span.error:
            attributes["langfuse.observation.level"] = "ERROR"
            attributes["langfuse.observation.status_message"] = span.error
        if span.kind in ("generation", "embedding"):
            attributes |= _of_model(span.attributes)
        for side, content in (("input", span.input), ("output", span.output)):
            if content is not None:
                attributes |= self._content(f"langfuse.observation.{side}", content, tenant)
        return attributes

    def _content(self, name: str, content: Any, tenant: str) -> dict[str, str]:
        """Returns the content that may be sent, as an attribute: a text unchanged, else JSON."""
        allowed = self._options.privacy.content(content, tenant)
        if allowed is None:
            return {}
        text = allowed if isinstance(allowed, str) else json.dumps(allowed, ensure_ascii=False)
        return {name: text}


def _caller(trace: Trace) -> Any:
    """Returns the context of the caller's span; None if the trace began here."""
    if not trace.parent_id:
        return None
    caller = SpanContext(
        trace_id=int(trace.id, 16),
        span_id=int(trace.parent_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )
    return set_span_in_context(NonRecordingSpan(caller))


def _of_model(attributes: Mapping[str, Any]) -> dict[str, Any]:
    converted: dict[str, Any] = {}
    if "model" in attributes:
        converted["langfuse.observation.model.name"] = attributes["model"]
        converted["gen_ai.request.model"] = attributes["model"]
    if "input_tokens" in attributes:
        counts = {"input": attributes["input_tokens"], "output": attributes["output_tokens"]}
        converted["langfuse.observation.usage_details"] = json.dumps(counts)
        converted["gen_ai.usage.input_tokens"] = counts["input"]
        converted["gen_ai.usage.output_tokens"] = counts["output"]
    if attributes.get("cost"):
        converted["langfuse.observation.cost_details"] = json.dumps({"total": attributes["cost"]})
    if "first_token_ns" in attributes:
        began = datetime.fromtimestamp(attributes["first_token_ns"] / 1e9, UTC)
        converted["langfuse.observation.completion_start_time"] = json.dumps(began.isoformat())
    parameters = {
        name: attributes[name] for name in ("max_tokens", "temperature") if name in attributes
    }
    if parameters:
        converted["langfuse.observation.model.parameters"] = json.dumps(parameters)
        converted |= {f"gen_ai.request.{name}": value for name, value in parameters.items()}
    if "template" in attributes:
        converted["langfuse.observation.prompt.name"] = attributes["template"]
    if isinstance(attributes.get("template_version"), int):  # Langfuse's versions are integers
        converted["langfuse.observation.prompt.version"] = attributes["template_version"]
    return converted


def langfuse(url: str, *, public_key: str, secret_key: str, options: ExportOptions) -> Exporter:
    """Returns an exporter to a Langfuse server: spans over OTLP, scores by Langfuse's client."""
    base = url.rstrip("/")
    api = LangfuseAPI(
        base_url=base,
        username=public_key,
        password=secret_key,
        timeout=REQUEST_SECONDS,
        follow_redirects=False,  # a POST would become a GET, whose response looks like success
    )
    secret = base64.b64encode(f"{public_key}:{secret_key}".encode()).decode()
    return Exporter(
        f"{base}/api/public/otel/v1/traces",
        headers={"Authorization": f"Basic {secret}", "x-langfuse-ingestion-version": "4"},
        options=options,
        send_scores=lambda scores: _create_scores(api, scores, options),
    )


def _create_scores(api: LangfuseAPI, scores: Scores, options: ExportOptions) -> int:
    no_retries = RequestOptions(max_retries=0)  # retries would delay the next parcels
    request = [_score_request(score, options) for score in scores]
    try:
        response = api.scores.create(request=request, request_options=no_retries)
    except (ApiError, httpx.HTTPError):  # away, or it refuses: logged once, as with traces
        return 0
    if isinstance(response, CreateScoreBatchResults):
        return min(max(0, response.accepted), len(scores))
    return len(scores)


def _score_request(score: Score, options: ExportOptions) -> CreateScoreRequest:
    value, kind = score.value, ScoreDataType.NUMERIC
    if isinstance(value, str):
        value, kind = _words(value, score.tenant, options), ScoreDataType.CORRECTION
        if score.name != "correction":
            value, kind = value[:MAX_TEXT], ScoreDataType.TEXT
    return CreateScoreRequest(
        # A score with the same id replaces the earlier one.
        id=str(uuid5(NAMESPACE_OID, _key(score))),
        name=score.name,
        value=value,
        comment=_words(score.comment, score.tenant, options) or None,
        trace_id=score.trace_id,
        observation_id=score.span_id or None,
        data_type=kind,
        environment=options.environment,
    )


def _key(score: Score) -> str:
    """Returns a key that is equal for scores of which the later replaces the earlier."""
    answer = f"{score.answer_id} " if score.answer_id else ""  # callers may share a trace
    return f"{score.trace_id} {score.span_id} {answer}{score.name}"


def _words(text: str, tenant: str, options: ExportOptions) -> str:
    return str(options.privacy.content(text, tenant) or "")
