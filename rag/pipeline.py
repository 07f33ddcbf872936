"""The query pipeline: from a question to its answer."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from generation.answer_stream import Draft, JsonDraft
from generation.query.expansion import QuestionExpander
from generation.query.rewriting import QuestionRewriter
from rag.catalog.catalog import Catalog
from rag.errors import RagError, UpstreamError
from rag.process.admission import Admission
from rag.protocols import Generator, Retriever, SupportScorer
from rag.telemetry import metrics
from rag.telemetry.trace import Attribute, Span, Trace, of_template
from rag.types import Answer, Citation, Delta, Hit, Prompt, Query, Scope, Usage
from retrieval.context_window import SectionReader
from retrieval.fusion import fuse_hits

Event = tuple[Hit, ...] | str | Citation | Answer
"""An event of a stream: the hits, then text and citations as they come, then the whole answer."""


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

    async def search(self, query: Query, trace: Trace) -> tuple[Hit, ...]:
        """Returns the hits alone; timings go to the trace.

        Raises:
            NotFoundError: There is no such collection.
            BusyError: Too many questions are under way.
            UpstreamError: The deadline passed.
        """
        with self._measured("search", query, trace) as question, self._admission.take():
            deadline = self._deadline()
            with trace.time("total"):
                await self._check_exists(query.scope, deadline)
                hits = await self._retrieve([query], trace, deadline)
            question.found(hits)
            return hits

    async def warm(self, scope: Scope) -> None:
        """Searches a collection once, so that the first question finds it in memory."""
        query = Query(text="warm up", scope=scope)
        await self._retrieve([query], Trace(), self._deadline())

    async def answer(self, query: Query, trace: Trace) -> Answer:
        """Returns the whole answer: the last event of `stream`."""
        async for event in self.stream(query, trace):
            last = event
        assert isinstance(last, Answer)  # noqa: S101 - what a stream ends with
        return last

    async def stream(self, query: Query, trace: Trace) -> AsyncGenerator[Event, None]:
        """Yields the events of a question, from its hits to the whole answer.

        Raises:
            NotFoundError: There is no such collection.
            BusyError: Too many questions are under way.
            UpstreamError: The deadline passed, or the generator failed.
        """
        with self._measured("answer", query, trace) as question, self._admission.take():
            async with contextlib.aclosing(self._stream(query, trace)) as events:
                async for event in events:
                    if isinstance(event, Answer):
                        question.answered(event)
                    yield event

    @contextlib.contextmanager
    def _measured(self, operation: str, query: Query, trace: Trace) -> Iterator[metrics.Question]:
        """Counts a question, and reports it once it has ended."""
        told: dict[str, Attribute] = {
            "operation": operation,
            "collection": query.scope.collection,
        }
        trace.tenant = tenant = query.scope.tenant
        trace.root = Span("query", input=query.text, attributes=told)
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

    async def _stream(self, query: Query, trace: Trace) -> AsyncGenerator[Event, None]:
        """Runs the stages of a question.

        1. make it stand alone  2. write further search texts  3. retrieve  4. widen
        5. generate  6. check what is written  7. the answer
        """
        deadline = self._deadline()
        with trace.time("total"):
            await self._check_exists(query.scope, deadline)  # before a model works for it
            query = await self._stand_alone(query, trace, deadline)  # 1.
            more = await self._expand(query, trace, deadline)  # 2.
            hits = await self._retrieve([query, *more], trace, deadline)  # 3.
        yield hits
        passages = tuple(await self._widen(query.scope, hits, trace, deadline))  # 4.
        prompt = Prompt(
            question=query.text, scope=query.scope, hits=passages, sampling=query.sampling
        )
        kind = Draft if query.sampling.schema is None else JsonDraft
        draft = kind(passages, self._support)
        last = Delta()
        async with contextlib.aclosing(self._generate(prompt, trace, deadline)) as deltas:
            async for last in deltas:  # 5.
                for event in await self._check(draft.take(last), trace, deadline):  # 6.
                    yield event
        for event in await self._check(draft.finish(), trace, deadline):
            yield event
        answer = _answer(prompt, draft, last, hits, trace)
        _check_spans(answer, trace)
        yield answer  # 7.

    async def _check_exists(self, scope: Scope, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._catalog.collections.check_exists(scope)
        except TimeoutError:
            raise self._late("looking up the collection") from None

    async def _stand_alone(self, query: Query, trace: Trace, deadline: float) -> Query:
        if self._rewriter is None or not query.history:
            return query
        try:
            async with asyncio.timeout_at(deadline):
                text = await self._rewriter.rewrite(query.text, query.history, trace)
        except TimeoutError:
            raise self._late("rewriting the question") from None
        return replace(query, text=text)

    async def _expand(self, query: Query, trace: Trace, deadline: float) -> list[Query]:
        if self._expander is None:
            return []
        try:
            async with asyncio.timeout_at(deadline):
                texts = await self._expander.expand(query.text, trace)
        except TimeoutError:
            raise self._late("writing what else to search for") from None
        return [replace(query, text=text) for text in texts]

    async def _retrieve(
        self, queries: Sequence[Query], trace: Trace, deadline: float
    ) -> tuple[Hit, ...]:
        try:
            async with asyncio.timeout_at(deadline):
                found = await asyncio.gather(*(self._search(query, trace) for query in queries))
        except TimeoutError:
            raise self._late("retrieval") from None
        return tuple(fuse_hits(found, k=self._rrf_k, limit=queries[0].top_k))

    async def _search(self, query: Query, trace: Trace) -> list[Hit]:
        with trace.span("retrieve", "retriever") as span:
            span.input = _asked(query)
            span.attributes["top_k"] = query.top_k
            span.attributes["filters"] = tuple(f"{c.field} {c.op}" for c in query.where)
            hits = await self._retriever.retrieve(query, trace)
            span.output = [_told(hit) for hit in hits]
            return hits

    async def _widen(
        self, scope: Scope, hits: Sequence[Hit], trace: Trace, deadline: float
    ) -> Sequence[Hit]:
        if self._reader is None:
            return hits
        try:
            with trace.span("widen"), trace.time("total"):
                async with asyncio.timeout_at(deadline):
                    return await self._reader.read(scope, hits)
        except TimeoutError:
            raise self._late("reading around the hits") from None

    async def _generate(
        self, prompt: Prompt, trace: Trace, deadline: float
    ) -> AsyncGenerator[Delta, None]:
        """Yields the generator's deltas; usage goes to the trace when they end, even if early."""
        spent = Usage()
        pace = metrics.Pace(live=trace.experiment is None)
        span = trace.open("generate", "generation")
        try:
            async with contextlib.aclosing(self._generator.stream(prompt)) as deltas:
                while True:
                    with trace.inside(span), trace.time("generate"), trace.time("total"):
                        async with asyncio.timeout_at(deadline):
                            delta = await anext(deltas)
                    pace.heard(delta)
                    _note(span, delta, pace)
                    trace.degraded.extend(delta.degraded)
                    spent = delta.usage or spent
                    yield delta
        except StopAsyncIteration:
            return
        except TimeoutError:
            span.error = "deadline"
            raise self._late("generation") from None
        except RagError as error:
            span.error = error.code
            raise
        finally:
            span.close()
            trace.spend(spent)

    async def _check(
        self, writing: Awaitable[list[str | Citation]], trace: Trace, deadline: float
    ) -> list[str | Citation]:
        try:
            with trace.time("cite"), trace.time("total"):
                async with asyncio.timeout_at(deadline):
                    return await writing
        except TimeoutError:
            raise self._late("checking citations") from None

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._seconds

    def _late(self, stage: str) -> UpstreamError:
        return UpstreamError(
            f"The question was not answered within {self._seconds:g} s: {stage} took too long."
            " Try again, or raise the setting limits.query_seconds.",
            code="deadline",
            retry_after=self._seconds,  # by then the present work has ended
        )


def _asked(query: Query) -> Any:
    """Returns a query as a trace holds it; the values of filters are content."""
    if not query.where:
        return query.text
    return {"query": query.text, "filters": [asdict(condition) for condition in query.where]}


def _told(hit: Hit) -> dict[str, Any]:
    """Returns a hit as a trace holds it."""
    chunk = hit.chunk
    return {
        "chunk_id": chunk.id,
        "document_id": chunk.document_id,
        "score": hit.score,
        "ranks": dict(hit.ranks),
        "text": chunk.text,
    }


def _note(span: Span, delta: Delta, pace: metrics.Pace) -> None:
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
    if delta.finish_reason:
        span.attributes["finish_reason"] = delta.finish_reason
    if call := delta.call:
        span.input = [{"role": m.role, "content": m.content} for m in call.messages]
        span.attributes |= of_template(call.template)
        span.attributes["max_tokens"] = call.sampling.max_tokens
        span.attributes["temperature"] = call.sampling.temperature


def _check_spans(answer: Answer, trace: Trace) -> None:
    """Adds spans for the numbers of citations, and for the abstention."""
    cited = trace.open("cite", "evaluator")
    cited.attributes["citations"] = len(answer.citations)
    cited.attributes["unsupported"] = len(answer.unsupported)
    cited.attributes["uncited"] = len(answer.uncited)
    cited.close()
    guard = trace.open("abstain", "guardrail")
    guard.attributes["confidence"] = answer.confidence
    guard.attributes["abstained"] = answer.reason or ""
    guard.close()


def _answer(
    prompt: Prompt, draft: Draft | JsonDraft, last: Delta, hits: tuple[Hit, ...], trace: Trace
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
        degraded=tuple(trace.degraded),
        usage=trace.usage,
        finish_reason=last.finish_reason,
        timings=dict(trace.timings),
        trace_id=trace.id,
    )
