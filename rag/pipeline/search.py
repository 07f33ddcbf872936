"""Searching: from a query to its hits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType

from rag.catalog.catalog import Catalog
from rag.errors import BusyError, RagError, UpstreamError
from rag.process.fair_admission import FairAdmission
from rag.protocols import Retriever
from rag.records import Outcome
from rag.telemetry import metrics, rollout_metrics
from rag.telemetry.metering import failure
from rag.telemetry.question_spans import hit_output, query_input
from rag.telemetry.stopwatch import Stopwatch
from rag.telemetry.trace import Attribute, Span, Trace
from rag.types import (
    BASE,
    Answer,
    Hit,
    Priority,
    Query,
    Retrieved,
    Scope,
    SearchResult,
    Usage,
    add_usage,
)
from retrieval.fusion import fuse_hits


@dataclass(slots=True, kw_only=True)
class Run:
    """A question under way, and what its stages have returned and taken so far.

    It may take `seconds`, until `deadline`, of the event loop's clock. The trace observes; the
    answer is made of the rest.
    """

    trace: Trace
    seconds: float
    variant: str
    deadline: float = 0.0
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    degraded: list[str] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)

    def add(self, usage: Usage, degraded: Iterable[str] = ()) -> None:
        """Adds the tokens that a stage used and the stages that it left out."""
        self.usage = add_usage(self.usage, usage)
        self.degraded += degraded

    def leave_out(self, omissions: Iterable[str]) -> None:
        """Records stages that were left out, in the trace as well."""
        omissions = tuple(omissions)
        self.trace.degraded += omissions
        self.degraded += omissions

    def begin(self) -> None:
        """Sets the deadline, from now."""
        self.deadline = asyncio.get_running_loop().time() + self.seconds

    def in_time(self, stage: str) -> InTime:
        """Returns the block of a stage, which ends at the deadline."""
        return InTime(stage, self)


Ended = Callable[[Query, Trace, Answer | None], None]


def unwatched(_query: Query, _trace: Trace, _answer: Answer | None) -> None:
    """Does nothing; the default for `ended`."""


class SearchPipeline:
    """Admits a question, sets its deadline and retrieves its hits."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        retriever: Retriever,
        admission: FairAdmission,
        seconds: Mapping[Priority, float],
        rrf_k: int,
        ended: Ended = unwatched,
        variant: str = BASE,
    ) -> None:
        """Makes a pipeline.

        Args:
            catalog: Knows the collections.
            retriever: Finds hits.
            admission: Bounds the questions under way.
            seconds: A question's time, from its admission, by its class.
            rrf_k: k of `rrf`, if a question is searched for in several forms.
            ended: Called with each question that has ended, its trace and, if there is one, its
                answer; returns at once.
            variant: The name of the pipeline, which its answers have.
        """
        self._catalog = catalog
        self._retriever = retriever
        self._ended = ended
        self._admission = admission
        self._seconds = seconds
        self._rrf_k = rrf_k
        self.variant = variant

    async def search(self, query: Query, trace: Trace) -> SearchResult:
        """Returns the hits without an answer.

        Raises:
            NotFoundError: There is no such collection.
            BusyError: Too many questions are under way.
            UpstreamError: The deadline passed.
        """
        run = self._begin(trace, query)
        with self._measured("search", query, run) as question:
            async with self._place(query, run):
                with run.stopwatch.time("total"):
                    query = await self._admitted(query, run)
                    hits = await self._retrieve([query], run)
            question.found(hits)
        return SearchResult(
            hits=hits,
            degraded=tuple(run.degraded),
            timings=dict(run.stopwatch.milliseconds),
        )

    async def warm(self, scope: Scope) -> None:
        """Searches a collection once, so that the first question finds it in memory."""
        query = Query(text="warm up", scope=scope)
        run = self._begin(Trace(), query)
        run.begin()
        await self._retrieve([query], run)

    def _begin(self, trace: Trace, query: Query) -> Run:
        run = Run(trace=trace, seconds=self._seconds[query.priority], variant=self.variant)
        trace.variant = self.variant
        trace.stopwatch = run.stopwatch  # the spans of all stages are timed by it
        return run

    @contextlib.asynccontextmanager
    async def _place(self, query: Query, run: Run) -> AsyncIterator[None]:
        """Takes a place for a question, whose time begins once it has it."""
        async with contextlib.AsyncExitStack() as stack:
            with metrics.queued(query.priority):
                place = self._admission.take(query.priority, query.scope.tenant)
                try:
                    waited = await stack.enter_async_context(place)
                except BusyError:
                    run.trace.arm = None  # of this process, which says nothing of a variant
                    raise
            if waited:
                run.stopwatch.milliseconds["queue"] = 1e3 * waited
            run.begin()
            yield

    @contextlib.contextmanager
    def _measured(self, operation: str, query: Query, run: Run) -> Iterator[metrics.Question]:
        """Counts a question, and reports it once it has ended."""
        trace = run.trace
        attributes: dict[str, Attribute] = {
            "operation": operation,
            "collection": query.scope.collection,
            "variant": trace.variant,
        }
        trace.tenant = tenant = query.scope.tenant
        trace.root = Span("query", input=query.text, attributes=attributes)
        live = trace.live  # an evaluation on a worker must set off no alarm
        ended: Outcome = "hung_up"
        if operation != "search":  # no model works for it that anyone is charged for
            trace.meter.begin("ask")
        with metrics.Question(operation, tenant, live) as question:
            try:
                yield question
                ended = _outcome(question.answer)
            except RagError as error:
                question.outcome = trace.root.error = error.code
                ended = failure(error)
                raise
            except Exception as error:
                question.outcome = trace.root.error = RagError.code
                ended = failure(error)
                raise
            finally:
                trace.meter.end(ended, trace_id=trace.id)
                trace.outcome = question.outcome
                trace.failed = ended == "failed"
                trace.root.output = question.answer and question.answer.text
                trace.root.close()
                if live:
                    rollout_metrics.question(trace.variant, ended)
                    metrics.stages(trace.timings.items(), trace.degraded, trace.usage, tenant)
                self._ended(query, trace, question.answer)

    async def _admitted(self, query: Query, run: Run) -> Query:
        """Checks that the collection exists; returns the query with all words of its readers."""
        async with run.in_time("looking up the collection"):
            scope = await self._catalog.collections.check_exists(query.scope)
        return query if scope == query.scope else replace(query, scope=scope)

    async def _retrieve(self, queries: Sequence[Query], run: Run) -> tuple[Hit, ...]:
        async with run.in_time("retrieval"):
            found = await asyncio.gather(*(self._search(query, run.trace) for query in queries))
        for retrieved in found:
            run.degraded += retrieved.degraded
        lists = [retrieved.hits for retrieved in found]
        return tuple(fuse_hits(lists, k=self._rrf_k, limit=queries[0].top_k))

    async def _search(self, query: Query, trace: Trace) -> Retrieved:
        with trace.span("retrieve", "retriever") as span:
            span.input = query_input(query)
            span.attributes["top_k"] = query.top_k
            span.attributes["filters"] = tuple(f"{c.field} {c.op}" for c in query.where)
            retrieved = await self._retriever.retrieve(query, trace)
            span.output = [hit_output(hit) for hit in retrieved.hits]
            return retrieved


def _outcome(answer: Answer | None) -> Outcome:
    if answer and answer.cached:
        return "cached"
    return "abstained" if answer and answer.reason else "ok"


class InTime:
    """Ends a block at the deadline, with an UpstreamError that names the stage.

    It is entered for each piece of an answer; as a generator it would cost more than the piece.
    """

    __slots__ = ("_seconds", "_stage", "_timeout")

    def __init__(self, stage: str, run: Run) -> None:
        self._stage = stage
        self._seconds = run.seconds
        self._timeout = asyncio.timeout_at(run.deadline)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        late = isinstance(error, TimeoutError)
        try:
            await self._timeout.__aexit__(kind, error, traceback)
        except TimeoutError:
            late = True
        if late:
            raise UpstreamError(
                f"The question was not answered within {self._seconds:g} s: {self._stage} took too"
                " long. Try again, or raise the setting limits.query_seconds, or query_seconds of"
                " its class in admission.",
                code="deadline",
                retry_after=self._seconds,  # by then the present work has ended
            ) from None
