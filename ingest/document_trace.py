"""Traces of documents: they begin when documents are accepted and continue during ingestion.

A trace covers one document: a job of ten thousand in one trace could not be read, nor sampled by
each document's outcome. The job's id is the session that connects its documents.

It begins with `submit`, in the process that accepts. Each attempt to ingest it is an `ingest` below
that, in whatever process; so is each stage, if two stages are separate. The trace context is stored
with the task in the catalog, where redelivery, the embedded queue and the outbox all find it; a
broker's message may be lost and written again, and contains it only for other tools.

In the W3C standard, a caller's `traceparent` links one cause to one effect. A document that is sent
alone continues the caller's trace. Of a few documents, each has its own trace, and its `submit`
names the caller's span (`caller`), as there is only one parent. Of many (bulk), the caller's trace
has one `submit` for all of them, and the documents' traces begin where they are ingested: a span of
the API for each would be most of the sent data. Documents of `rag ingest` have traces as if they
were sent by a caller without a trace.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from rag.errors import code_of
from rag.records import Outcome, Submission, Task
from rag.telemetry.metering import Meter
from rag.telemetry.trace import Attribute, Send, Span, Trace, is_sampled, nowhere, trace_of
from rag.types import Document, Scope

_OUTCOMES: Mapping[str, Outcome] = {"failed": "failed", "cancelled": "interrupted"}
"""Outcomes of attempts that did not end well, as the ledger names them."""


@dataclass(slots=True)
class Accepting:
    """Documents while they are accepted, each with its trace context; afterwards also their job."""

    documents: Sequence[Submission]
    job_id: str = ""


class DocumentTraces:
    """Records the processing of documents, and sends it."""

    def __init__(
        self,
        send: Send = nowhere,
        *,
        rate: float = 1.0,
        meter: Callable[[Task], Meter] = lambda _: Meter(),
    ) -> None:
        """Make a recorder.

        Args:
            send: takes the traces.
            rate: the share sent of the traces that end well.
            meter: returns what an attempt is charged by.
        """
        self._send = send
        self._rate = rate
        self._meter = meter

    @contextlib.contextmanager
    def accepting(
        self, scope: Scope, documents: Sequence[Submission], request: Trace, *, bulk: bool
    ) -> Iterator[Accepting]:
        """Records a submission; the block sets its job. `request` is the caller's trace."""
        alone = bulk or len(documents) == 1
        traces = [request] if alone else [self._part_of(request) for _ in documents]
        for trace in traces:
            trace.root.name = "submit"
            trace.root.attributes |= _scope_attributes(scope) | {"documents": len(documents)}
        accepting = Accepting(documents if bulk else list(map(_accepted_in, documents, traces)))
        error = ""
        try:
            yield accepting
        except Exception as failure:
            error = code_of(failure)
            raise
        finally:
            for trace in traces:
                trace.outcome = trace.root.error = error
                self._end(trace, scope.tenant, accepting.job_id)

    @contextlib.contextmanager
    def attempt(self, task: Task) -> Iterator[Trace]:
        """Records one attempt, or one stage of it; the block sets its outcome."""
        trace = self._of(task)
        trace.outcome = "cancelled"
        trace.root = root = Span(
            "ingest", input={"uri": task.uri}, attributes=_scope_attributes(task.scope)
        )
        root.attributes |= {
            "document_id": task.document_id,
            "stage": task.stage,
            "attempt": task.attempts + 1,
            # The clocks of two machines may differ.
            "waited_seconds": round(max(0.0, root.start / 1e9 - task.accepted_at), 3),
        }
        meter = trace.meter = self._meter(task)
        meter.begin("ingest")
        try:
            yield trace
        finally:
            root.attributes["outcome"] = trace.outcome
            meter.end(_OUTCOMES.get(trace.outcome, "ok"), trace_id=trace.id)
            self._end(trace, task.scope.tenant, task.job_id)

    def _end(self, trace: Trace, tenant: str, job_id: str) -> None:
        trace.session = trace.root.attributes["job_id"] = job_id
        trace.root.close()
        trace.tenant = tenant
        self._send(trace)

    def _part_of(self, request: Trace) -> Trace:
        """Returns a new trace for one of several documents."""
        trace = trace_of(None, rate=self._rate)
        trace.root.start = request.root.start
        if request.parent_id:
            trace.root.attributes["caller"] = f"{request.id}-{request.parent_id}"
        return trace

    def _of(self, task: Task) -> Trace:
        """Returns the trace that a task is part of: the same for all attempts, in all processes."""
        if task.traceparent:
            # Sampling was decided on acceptance, and the header has it: all attempts must agree.
            trace = trace_of(task.traceparent, rate=0.0)
        else:
            id_ = sha256(f"{task.job_id} {task.document_id}".encode()).hexdigest()[:32]
            trace = Trace(id=id_, sampled=is_sampled(id_, self._rate))
        trace.sampled |= task.attempts > 0  # a failed document is traced to its end
        return trace


def note(trace: Trace, document: Document) -> None:
    """Records properties of a document; of its text only the length."""
    trace.root.input |= {"title": document.title}
    trace.root.attributes |= {
        "media_type": document.media_type,
        "characters": len(document.text),
    }


def _scope_attributes(scope: Scope) -> dict[str, Attribute]:
    return {"operation": "ingest", "collection": scope.collection}


def _accepted_in(document: Submission, trace: Trace) -> Submission:
    trace.root.input = {"uri": document.uri, "title": document.title}
    return replace(document, traceparent=trace.traceparent(trace.root))
