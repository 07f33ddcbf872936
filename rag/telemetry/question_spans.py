"""Describes the stages of a question in the spans of its trace."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from rag.telemetry.metrics import Pace
from rag.telemetry.trace import Span, Trace, of_template
from rag.types import Answer, Delta, Hit, Query


def query_input(query: Query) -> Any:
    """Returns a query as a span's input; the values of filters are content."""
    if not query.where:
        return query.text
    return {"query": query.text, "filters": [asdict(condition) for condition in query.where]}


def hit_output(hit: Hit) -> dict[str, Any]:
    """Returns a hit as part of a span's output."""
    chunk = hit.chunk
    return {
        "chunk_id": chunk.id,
        "document_id": chunk.document_id,
        "score": hit.score,
        "ranks": dict(hit.ranks),
        "text": chunk.text,
    }


def describe_delta(span: Span, delta: Delta, pace: Pace) -> None:
    """Adds to the span the text of a delta and its data on the model that writes it."""
    span.output = (span.output or "") + delta.text
    if delta.model:
        span.attributes["model"] = delta.model
    if pace.first_ns:
        span.attributes["first_token_ns"] = pace.first_ns
    if delta.usage:
        span.attributes["input_tokens"] = delta.usage.input_tokens
        span.attributes["output_tokens"] = delta.usage.output_tokens
        span.attributes["cost"] = delta.usage.cost
        span.attributes["estimated"] = delta.usage.estimated
    if delta.route:
        span.attributes["route"] = delta.route.name
        span.attributes["route_reasons"] = delta.route.reasons
        span.attributes["escalated_from"] = delta.route.escalated_from or ""
    if delta.finish_reason:
        span.attributes["finish_reason"] = delta.finish_reason
    if call := delta.call:
        span.input = [{"role": m.role, "content": m.content} for m in call.messages]
        span.attributes |= of_template(call.template)
        span.attributes["max_tokens"] = call.sampling.max_tokens
        span.attributes["temperature"] = call.sampling.temperature
        if call.sampling.adapter:
            span.attributes["adapter"] = call.sampling.adapter


def describe_checks(trace: Trace, answer: Answer) -> None:
    """Adds spans for the numbers of citations, and for the abstention."""
    cited = trace.open("cite", "evaluator")
    cited.attributes["citations"] = len(answer.citations)
    cited.attributes["unsupported"] = len(answer.unsupported)
    cited.attributes["uncited"] = len(answer.uncited)
    for outcome, count in Counter(claim.outcome for claim in answer.claims).items():
        cited.attributes[f"claims_{outcome}"] = count
    refused = [claim for claim in answer.claims if claim.objection]
    cited.output = [
        {"text": c.text, "outcome": c.outcome, "objection": c.objection, "missing": c.missing}
        for c in refused
    ]
    cited.close()
    guard = trace.open("abstain", "guardrail")
    guard.attributes["confidence"] = answer.confidence
    guard.attributes["abstained"] = answer.reason or ""
    guard.close()
