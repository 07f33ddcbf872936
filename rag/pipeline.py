"""The query pipeline: from a question to its answer."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from generation.answer_stream import Draft, JsonDraft
from generation.query.expansion import QuestionExpander
from generation.query.rewriting import QuestionRewriter
from rag.catalog.catalog import Catalog
from rag.errors import RagError, UpstreamError
from rag.process.admission import Admission
from rag.protocols import Generator, Retriever, SupportScorer
from rag.telemetry import metrics
from rag.telemetry.question_spans import describe_checks, describe_delta, hit_output, query_input
from rag.telemetry.stopwatch import Stopwatch
from rag.telemetry.trace import Attribute, Span, Trace, add_usage
from rag.types import (
    Answer,
    Citation,
    Delta,
    Hit,
    Prompt,
    Query,
    Retrieved,
    Scope,
    SearchResult,
    Usage,
)
from retrieval.context_window import SectionReader
from retrieval.fusion import fuse_hits

Event = tuple[Hit, ...] | str | Citation | Answer
"""An event of a stream: the hits, then text and citations as they come, then the whole answer."""


@dataclass(slots=True, kw_only=True)
class _Run:
    """A question under way, and what its stages have returned and taken so far.

    `deadline` is in seconds of the event loop's clock. The trace observes; the answer is made of
    the rest.
    """

    trace: Trace
    deadline: float
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    degraded: list[str] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)

    def add(self, usage: Usage, degraded: Iterable[str] = ()) -> None:
        """Adds the tokens that a stage used and the stages that it left out."""
        self.usage = add_usage(self.usage, usage)
        self.degraded += degraded


Ended = Callable[[Query, Trace, Answer | None], None]


def _unwatched(_query: Query, _trace: Trace, _answer: Answer | None) -> None:
    """Does nothing; the default for `ended`."""


class QueryPipeline:
    """Rewrites and expands a question, retrieves hits, generates an answer and checks it."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        rewriter: QuestionRewriter | None,
        expander: QuestionExpander | None,
        retriever: Retriever,
        reader: SectionReader | None,
        generator: Generator,
        support: SupportScorer,
        at_once: int,
        seconds: float,
        rrf_k: int,
        ended: Ended = _unwatched,
    ) -> None:
        """Makes a pipeline.

        Args:
            catalog: Knows the collections.
            rewriter: Makes a follow-up question stand alone; None: it is searched for unchanged.
            expander: Writes further search texts; None: the question alone.
            retriever: Finds hits.
            reader: Widens them for the generator; None: it gets them unchanged.
            generator: Writes the answer.
            support: Scores how well its passages support it.
            at_once: Most questions under way.
            seconds: The deadline of a question.
            rrf_k: k of `rrf`, if a question is searched for in several forms.
            ended: Called with each question that has ended, its trace and, if there is one, its
                answer; returns at once.
        """
        self._catalog = catalog
        self._rewriter = rewriter
        self._expander = expander
        self._retriever = retriever
        self._reader = reader
        self._generator = generator
        self._support = support
        self._ended = ended
        self._admission = Admission(
            at_once,
            refusal=f"{at_once} questions are under way already (limits.questions). Try again in"
            " a moment.",
        )
        self._seconds = seconds
        self._rrf_k = rrf_k

    async def search(self, query: Query, trace: Trace) -> SearchResult:
        """Returns the hits without an answer.

        Raises:
            NotFoundError: There is no such collection.
            BusyError: Too many questions are under way.
            UpstreamError: The deadline passed.
        """
        run = self._begin(trace)
        with self._measured("search", query, run) as question, self._admission.take():
            with run.stopwatch.time("total"):
                await self._check_exists(query.scope, run)
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
        await self._retrieve([query], self._begin(Trace()))

    async def answer(self, query: Query, trace: Trace) -> Answer:
        """Returns the whole answer: the last event of `stream`."""
        async for event in self.stream(query, trace):
            last = event
        assert isinstance(last, Answer)  # noqa: S101 - the last event of a stream
        return last

    async def stream(self, query: Query, trace: Trace) -> AsyncGenerator[Event, None]:
        """Yields the events of a question, from its hits to the whole answer.

        Raises:
            NotFoundError: There is no such collection.
            BusyError: Too many questions are under way.
            UpstreamError: The deadline passed, or the generator failed.
        """
        run = self._begin(trace)
        with self._measured("answer", query, run) as question, self._admission.take():
            async with contextlib.aclosing(self._stream(query, run)) as events:
                async for event in events:
                    if isinstance(event, Answer):
                        question.answered(event)
                    yield event

    def _begin(self, trace: Trace) -> _Run:
        run = _Run(trace=trace, deadline=asyncio.get_running_loop().time() + self._seconds)
        trace.stopwatch = run.stopwatch  # the spans of all stages are timed by it
        return run

    @contextlib.contextmanager
    def _measured(self, operation: str, query: Query, run: _Run) -> Iterator[metrics.Question]:
        """Counts a question, and reports it once it has ended."""
        trace = run.trace
        attributes: dict[str, Attribute] = {
            "operation": operation,
            "collection": query.scope.collection,
        }
        trace.tenant = tenant = query.scope.tenant
        trace.root = Span("query", input=query.text, attributes=attributes)
        live = trace.experiment is None  # an evaluation on a worker must set off no alarm
        with metrics.Question(operation, tenant, live) as question:
            try:
                yield question
            except RagError as error:
                question.outcome = trace.root.error = error.code
                raise
            except Exception:
                question.outcome = trace.root.error = RagError.code
                raise
            finally:
                trace.outcome = question.outcome
                trace.root.output = question.answer and question.answer.text
                trace.root.close()
                if live:
                    metrics.stages(trace.timings.items(), trace.degraded, trace.usage, tenant)
                self._ended(query, trace, question.answer)

    async def _stream(self, query: Query, run: _Run) -> AsyncGenerator[Event, None]:
        """Runs the stages of a question.

        1. make it stand alone  2. write further search texts  3. retrieve  4. widen
        5. generate  6. check what is written  7. the answer
        """
        with run.stopwatch.time("total"):
            await self._check_exists(query.scope, run)  # before a model works for it
            query = await self._stand_alone(query, run)  # 1.
            more = await self._expand(query, run)  # 2.
            hits = await self._retrieve([query, *more], run)  # 3.
        yield hits
        passages = tuple(await self._widen(query.scope, hits, run))  # 4.
        prompt = Prompt(
            question=query.text, scope=query.scope, hits=passages, sampling=query.sampling
        )
        kind = Draft if query.sampling.schema is None else JsonDraft
        draft = kind(passages, self._support)
        last = Delta()
        async with contextlib.aclosing(self._generate(prompt, run)) as deltas:
            async for last in deltas:  # 5.
                for event in await self._check(draft.take(last), run):  # 6.
                    yield event
        for event in await self._check(draft.finish(), run):
            yield event
        answer = _answer(prompt, draft, last, hits, run)
        describe_checks(run.trace, answer)
        yield answer  # 7.

    async def _check_exists(self, scope: Scope, run: _Run) -> None:
        with self._in_time("looking up the collection"):
            async with asyncio.timeout_at(run.deadline):
                await self._catalog.collections.check_exists(scope)

    async def _stand_alone(self, query: Query, run: _Run) -> Query:
        if self._rewriter is None or not query.history:
            return query
        with self._in_time("rewriting the question"):
            async with asyncio.timeout_at(run.deadline):
                rewritten = await self._rewriter.rewrite(query.text, query.history, run.trace)
        run.add(rewritten.usage, rewritten.degraded)
        return replace(query, text=rewritten.question)

    async def _expand(self, query: Query, run: _Run) -> list[Query]:
        if self._expander is None:
            return []
        with self._in_time("writing what else to search for"):
            async with asyncio.timeout_at(run.deadline):
                expansion = await self._expander.expand(query.text, run.trace)
        run.add(expansion.usage, expansion.degraded)
        return [replace(query, text=text) for text in expansion.texts]

    async def _retrieve(self, queries: Sequence[Query], run: _Run) -> tuple[Hit, ...]:
        with self._in_time("retrieval"):
            async with asyncio.timeout_at(run.deadline):
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

    async def _widen(self, scope: Scope, hits: Sequence[Hit], run: _Run) -> Sequence[Hit]:
        if self._reader is None:
            return hits
        with (
            self._in_time("reading around the hits"),
            run.trace.span("widen"),
            run.stopwatch.time("total"),
        ):
            async with asyncio.timeout_at(run.deadline):
                return await self._reader.read(scope, hits)

    async def _generate(self, prompt: Prompt, run: _Run) -> AsyncGenerator[Delta, None]:
        """Yields the generator's deltas; their usage counts once they end, even if early."""
        usage, trace = Usage(), run.trace
        pace = metrics.Pace(live=trace.experiment is None)
        span = trace.open("generate", "generation")
        try:
            async with contextlib.aclosing(self._generator.stream(prompt)) as deltas:
                while True:
                    with (
                        self._in_time("generation"),
                        trace.inside(span),
                        run.stopwatch.time("generate"),
                        run.stopwatch.time("total"),
                    ):
                        async with asyncio.timeout_at(run.deadline):
                            delta = await anext(deltas, None)
                    if delta is None:
                        return
                    pace.add(delta)
                    describe_delta(span, delta, pace)
                    trace.degraded += delta.degraded
                    run.degraded += delta.degraded
                    usage = delta.usage or usage
                    yield delta
        except RagError as error:
            span.error = error.code
            raise
        finally:
            span.close()
            trace.spend(usage)
            run.add(usage)

    async def _check(
        self, writing: Awaitable[list[str | Citation]], run: _Run
    ) -> list[str | Citation]:
        with (
            self._in_time("checking citations"),
            run.stopwatch.time("cite"),
            run.stopwatch.time("total"),
        ):
            async with asyncio.timeout_at(run.deadline):
                return await writing

    def _in_time(self, stage: str) -> _InTime:
        return _InTime(stage, self._seconds)


class _InTime:
    """Turns a TimeoutError in a block into an UpstreamError that names the stage.

    It is a class because it is entered for each piece of an answer, and a generator is slower.
    """

    __slots__ = ("_seconds", "_stage")

    def __init__(self, stage: str, seconds: float) -> None:
        self._stage = stage
        self._seconds = seconds

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, TimeoutError):
            raise UpstreamError(
                f"The question was not answered within {self._seconds:g} s: {self._stage} took too"
                " long. Try again, or raise the setting limits.query_seconds.",
                code="deadline",
                retry_after=self._seconds,  # by then the present work has ended
            ) from None


def _answer(
    prompt: Prompt, draft: Draft | JsonDraft, last: Delta, hits: tuple[Hit, ...], run: _Run
) -> Answer:
    return Answer(
        id=secrets.token_hex(16),
        question=prompt.question,
        text=draft.text,
        citations=draft.citations,
        unsupported=draft.unsupported,
        uncited=draft.uncited,
        hits=hits,
        passages=prompt.hits,
        abstained=last.abstained is not None,
        reason=last.abstained,
        confidence=last.confidence or 0.0,
        degraded=tuple(run.degraded),
        usage=run.usage,
        finish_reason=last.finish_reason,
        timings=dict(run.stopwatch.milliseconds),
        trace_id=run.trace.id,
    )
