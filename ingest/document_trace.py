"""The traces of documents: begun where they are accepted, continued where they are ingested.

One trace is one document's: a job of ten thousand in one could not be read, nor sampled by how each
document ended. What belongs together has the job's id as its session.

It begins with `submit`, in the process that accepts. Each attempt to ingest it is an `ingest` below
that, in whatever process; so is each of two stages that are apart. What they need to know is kept
with the task in the catalog, where redelivery, the embedded queue and the outbox all find it; a
broker's message may be lost and written anew, and is told for the sake of other tools.

A caller's `traceparent` is W3C's for one thing that causes one other. A document that is sent alone
goes on in the caller's trace. Of a few, each has its own, and its `submit` names the caller's span
(`caller`), as there is but one parent. Of many (bulk), the caller's trace has one `submit` for all
of them, and the documents' begin where they are ingested: a span of the API's for each would be
most of what it sends. So do those that no API accepts, as with `rag ingest`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from rag.errors import code_of
from rag.records import Submission, Task
from rag.telemetry.trace import Attribute, Send, Span, Trace, is_sampled, nowhere, trace_of
from rag.types import Document, Scope


@dataclass(slots=True)
class Accepting:
    """Documents while they are accepted, each with where its trace goes on; and then their job."""

    documents: Sequence[Submission]
    job_id: str = ""


class DocumentTraces:
    """Records what happens to documents, and sends it."""

    def __init__(self, send: Send = nowhere, *, rate: float = 1.0) -> None:
        """Make one; `rate` is the share that is sent of the traces that end well."""
        self._send = send
        self._rate = rate

    @contextlib.contextmanager
    def accepting(
        self, scope: Scope, documents: Sequence[Submission], request: Trace, *, bulk: bool
    ) -> Iterator[Accepting]:
        """Records a submission, whose job the block is to say; `request` is the caller's trace."""
        alone = bulk or len(documents) == 1
        traces = [request] if alone else [self._part_of(request) for _ in documents]
        for trace in traces:
            trace.root.name = "submit"
            trace.root.attributes |= _told(scope) | {"documents": len(documents)}
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
        """Records one attempt, or one stage of it, whose outcome the block is to say."""
        trace = self._of(task)
        trace.outcome = "cancelled"
        trace.root = root = Span("ingest", input={"uri": task.uri}, attributes=_told(task.scope))
        root.attributes |= {
            "document_id": task.document_id,
            "stage": task.stage,
            "attempt": task.attempts + 1,
            # Of two machines the clocks may differ.
            "waited_seconds": round(max(0.0, root.start / 1e9 - task.accepted_at), 3),
        }
        try:
            yield trace
        finally:
            root.attributes["outcome"] = trace.outcome
            self._end(trace, task.scope.tenant, task.job_id)

    def _end(self, trace: Trace, tenant: str, job_id: str) -> None:
        trace.session = trace.root.attributes["job_id"] = job_id
        trace.root.close()
        trace.tenant = tenant
        self._send(trace)

    def _part_of(self, request: Trace) -> Trace:
        """A new trace for one of several documents."""
        trace = trace_of(None, rate=self._rate)
        trace.root.start = request.root.start
        if request.parent_id:
            trace.root.attributes["caller"] = f"{request.id}-{request.parent_id}"
        return trace

    def _of(self, task: Task) -> Trace:
        """The trace that a task is part of: the same for all of its attempts, in all processes."""
        if task.traceparent:
            # Whoever accepted it has decided, and the header says how: attempts must agree.
            trace = trace_of(task.traceparent, rate=0.0)
        else:
            id_ = sha256(f"{task.job_id} {task.document_id}".encode()).hexdigest()[:32]
            trace = Trace(id=id_, sampled=is_sampled(id_, self._rate))
        trace.sampled |= task.attempts > 0  # what went wrong is told to its end
        return trace


def note(trace: Trace, document: Document) -> None:
    """Says what was read; of its text no more than how long it is."""
    trace.root.input |= {"title": document.title}
    trace.root.attributes |= {
        "media_type": document.media_type,
        "characters": len(document.text),
    }


def _told(scope: Scope) -> dict[str, Attribute]:
    return {"operation": "ingest", "collection": scope.collection}


def _accepted_in(document: Submission, trace: Trace) -> Submission:
    trace.root.input = {"uri": document.uri, "title": document.title}
    return replace(document, traceparent=trace.traceparent(trace.root))
