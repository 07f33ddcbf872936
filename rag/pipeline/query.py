"""Answering: from a question to its checked answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Mapping,
    Sequence,
)
from dataclasses import replace
from functools import partial

from generation.drafts.draft import Written
from generation.drafts.policy import Drafts
from generation.drafts.strict import Remedies
from generation.grounding.quotes import quotes_for
from generation.query.core_question import core_question
from generation.query.expansion import QuestionExpander
from generation.query.follow_up import FollowUpResolver
from generation.query.rewriting import QuestionRewriter
from generation.query.task_writer import TaskWriter
from rag.catalog.catalog import Catalog
from rag.errors import RagError
from rag.pipeline.composing import answer_of, refused_claims, task_answer
from rag.pipeline.repeating import Repeater
from rag.pipeline.search import Ended, Run, SearchPipeline, unwatched
from rag.process.fair_admission import FairAdmission
from rag.protocols import Generator, Retriever
from rag.telemetry import metrics
from rag.telemetry.question_spans import describe_checks, describe_delta
from rag.telemetry.trace import Trace
from rag.types import (
    BASE,
    Answer,
    ChatTask,
    ClaimPolicy,
    Delta,
    Hit,
    Priority,
    Prompt,
    Query,
    Revision,
    Scope,
    Usage,
)
from retrieval.context_window import SectionReader

Event = tuple[Hit, ...] | Written | Answer
"""An event of a stream: the hits, then what is written as it comes, then the whole answer."""


class QueryPipeline(SearchPipeline):
    """Rewrites and expands a question, retrieves hits, generates an answer and checks it."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        tasks: TaskWriter,
        rewriter: QuestionRewriter | FollowUpResolver | None,
        expander: QuestionExpander | None,
        retriever: Retriever,
        reader: SectionReader | None,
        generator: Generator,
        extractive: Generator,
        drafts: Drafts,
        claims: ClaimPolicy,
        admission: FairAdmission,
        seconds: Mapping[Priority, float],
        rrf_k: int,
        ended: Ended = unwatched,
        repeater: Repeater | None = None,
        variant: str = BASE,
    ) -> None:
        """Makes a pipeline.

        Args:
            catalog: See `SearchPipeline`.
            tasks: Does the tasks of chat UIs.
            rewriter: Makes a follow-up question stand alone; None: it is searched for unchanged.
            expander: Writes further search texts; None: the question alone.
            retriever: See `SearchPipeline`.
            reader: Widens the hits for the generator; None: it gets them unchanged.
            generator: Writes the answer.
            extractive: Writes the quotes that replace what the passages do not support.
            drafts: Make the drafts that check what is written.
            claims: The policy for unsupported claims, unless the question has another.
            admission: See `SearchPipeline`.
            seconds: See `SearchPipeline`.
            rrf_k: See `SearchPipeline`.
            ended: See `SearchPipeline`.
            repeater: Gives earlier answers again; None: each answer is made for its question.
            variant: See `SearchPipeline`.
        """
        super().__init__(
            catalog=catalog,
            retriever=retriever,
            admission=admission,
            seconds=seconds,
            rrf_k=rrf_k,
            ended=ended,
            variant=variant,
        )
        self._tasks = tasks
        self._rewriter = rewriter
        self._expander = expander
        self._reader = reader
        self._generator = generator
        self._extractive = extractive
        self._drafts = drafts
        self._claims = claims
        self._repeater = repeater

    async def answer(self, query: Query, trace: Trace) -> Answer:
        """Returns the whole answer: the last event of `stream`."""
        async for event in self.stream(query, trace):
            last = event
        assert isinstance(last, Answer)  # noqa: S101 - the last event of a stream
        return last

    async def stream(self, query: Query, trace: Trace) -> AsyncGenerator[Event, None]:
        """Yields the events of a question, from its hits to the whole answer.

        A task of a chat UI has neither hits nor citations.

        Raises:
            NotFoundError: There is no such collection.
            BusyError: Too many questions are under way.
            UpstreamError: The deadline passed, or the generator failed.
        """
        run, task = self._begin(trace, query), query.task
        run.add(Usage(), query.degraded)
        operation = "answer" if task is None else "task"
        with self._measured(operation, query, run) as question:
            working = self._working(query, run)
            async with self._place(query, run), contextlib.aclosing(working) as events:
                async for event in events:
                    if isinstance(event, Answer) and task is None:
                        question.answered(event)
                    elif isinstance(event, Answer) and task is not None:
                        question.outcome = task.kind
                    yield event

    def _working(self, query: Query, run: Run) -> AsyncGenerator[Event, None]:
        if query.task is not None:
            return self._do(query.task, query, run)
        if self._repeater is None or not run.trace.asked:
            return self._stream(query, run)  # evaluations and shadows measure what a cache hides
        answering = partial(self._stream, admitted=True)
        return self._repeater.stream(query, run, answering)

    async def _do(self, task: ChatTask, query: Query, run: Run) -> AsyncGenerator[Event, None]:
        """Does a task of a chat UI, without a search."""
        with run.stopwatch.time("total"):
            query = await self._admitted(query, run)
            async with run.in_time("a task of the chat"):
                done = await self._tasks.write(task, run.trace)
        run.add(done.usage, done.degraded)
        answer = task_answer(done.text, query, run)
        yield ()
        if answer.text:
            yield answer.text
        yield answer

    async def _stream(
        self, query: Query, run: Run, *, admitted: bool = False
    ) -> AsyncGenerator[Event, None]:
        """Runs the stages of a question.

        1. make it stand alone, and find it in its message  2. write further search texts
        3. retrieve  4. widen  5. write, and check what is written  6. the answer
        """
        with run.stopwatch.time("total"):
            if not admitted:
                query = await self._admitted(query, run)  # before a model works for it
            query = await self._rewrite(query, run)  # 1.
            message, query = query.text, replace(query, text=core_question(query.text))
            more = await self._expand(query, run)  # 2.
            hits = await self._retrieve([query, *more], run) if query.text else ()  # 3.
        yield hits
        passages = tuple(await self._widen(query.scope, hits, run))  # 4.
        prompt = Prompt(
            question=query.text,
            scope=query.scope,
            hits=passages,
            message=message,
            sampling=query.sampling,
            tags=query.tags,
        )
        writing = self._write(prompt, query.claims or self._claims, hits, run)  # 5.
        async with contextlib.aclosing(writing) as events:
            async for event in events:
                yield event  # 6., last

    async def _write(
        self, prompt: Prompt, policy: ClaimPolicy, hits: tuple[Hit, ...], run: Run
    ) -> AsyncGenerator[Event, None]:
        """Yields what is written, as it is checked, then the answer.

        If the draft refuses a claim, the rest is written anew.
        """
        draft = self._drafts.make(prompt, policy, _remedies(prompt, run, self._extractive))
        last = Delta()
        while True:
            async with contextlib.aclosing(self._attempt(prompt, run)) as deltas:
                async for last in deltas:
                    for event in await self._check(draft.take(last), run):
                        yield event
                    if draft.refused:
                        break
                else:
                    for event in await self._check(draft.finish(), run):
                        yield event
            if draft.refused is None:
                break
            prompt = replace(prompt, revision=Revision(kept=draft.text, refused=draft.refused))
            draft.revise()
        run.leave_out(refused_claims(draft))
        answer = answer_of(prompt, draft, last, hits, run)
        describe_checks(run.trace, answer)
        yield answer

    async def _attempt(self, prompt: Prompt, run: Run) -> AsyncGenerator[Delta, None]:
        """Yields the generator's deltas; a second try that fails ends early, and is told."""
        try:
            async with contextlib.aclosing(self._generate(prompt, run)) as deltas:
                async for delta in deltas:
                    yield delta
        except RagError as error:
            if prompt.revision is None:
                raise
            failed = f"generate: the second try failed: {error}"
            run.leave_out((failed,))

    async def _rewrite(self, query: Query, run: Run) -> Query:
        if self._rewriter is None or not query.history:
            return query
        async with run.in_time("rewriting the question"):
            rewritten = await self._rewriter.rewrite(query.text, query.history, run.trace)
        run.add(rewritten.usage, rewritten.degraded)
        return replace(query, text=rewritten.question)

    async def _expand(self, query: Query, run: Run) -> list[Query]:
        if self._expander is None or not query.text:
            return []
        async with run.in_time("writing what else to search for"):
            expansion = await self._expander.expand(query.text, run.trace)
        run.add(expansion.usage, expansion.degraded)
        return [replace(query, text=text) for text in expansion.texts]

    async def _widen(self, scope: Scope, hits: Sequence[Hit], run: Run) -> Sequence[Hit]:
        if self._reader is None:
            return hits
        with run.trace.span("widen"), run.stopwatch.time("total"):
            async with run.in_time("reading around the hits"):
                return await self._reader.read(scope, hits)

    async def _generate(self, prompt: Prompt, run: Run) -> AsyncGenerator[Delta, None]:
        """Yields the generator's deltas; their usage counts once they end, even if early."""
        usage, trace = Usage(), run.trace
        pace = metrics.Pace(live=trace.live)
        span = trace.open("generate", "generation")
        try:
            async with contextlib.aclosing(self._generator.stream(prompt)) as deltas:
                while True:
                    with (
                        trace.inside(span),
                        run.stopwatch.time("generate"),
                        run.stopwatch.time("total"),
                    ):
                        async with run.in_time("generation"):
                            delta = await anext(deltas, None)
                    if delta is None:
                        return
                    pace.add(delta)
                    describe_delta(span, delta, pace)
                    run.leave_out(delta.degraded)
                    usage = delta.usage or usage
                    yield delta
        except RagError as error:
            span.error = error.code
            raise
        finally:
            span.close()
            trace.spend(usage)
            run.add(usage)

    async def _check(self, writing: Awaitable[list[Written]], run: Run) -> list[Written]:
        with run.stopwatch.time("cite"), run.stopwatch.time("total"):
            async with run.in_time("checking the answer"):
                return await writing


def _remedies(prompt: Prompt, run: Run, extractive: Generator) -> Remedies:
    """Returns the remedies for refused claims; a revision may take as long as the first try."""
    clock = asyncio.get_running_loop().time
    begun = clock()
    return Remedies(
        may_revise=lambda: 2 * clock() - begun < run.deadline,
        quotes=quotes_for(prompt, extractive),
    )
