"""An offline run: puts the questions of a set through exactly the pipeline that serves."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace

from eval.datasets.corpus import Passage, Question
from eval.datasets.loading import check_spans
from eval.measures.document_ranking import rank_documents
from eval.measures.registry import measure
from eval.measures.slices import ANSWERABLE, slices_of
from eval.offline.plan import Plan
from eval.offline.scoring import Scorer
from eval.runs.run_folder import Cited, Found, Outcome
from generation.grounding.claims import unstated_figures
from ingest.readers.decoding import storable
from rag.build.ingest import Ingesting
from rag.build.service import Service
from rag.errors import InputError, RagError
from rag.feedback.observer import Traces
from rag.records import JobRecord, Submission
from rag.telemetry.trace import Score, Trace
from rag.types import Answer, Hit, Query, Scope

POLL_SECONDS = 0.2
MAX_LISTED_FAILURES = 3
Progress = Callable[[int], None]
"""Called with the number of items that are done."""


async def ingest(
    service: Ingesting, plan: Plan, drain: Callable[[], Awaitable[None]], progress: Progress
) -> None:
    """Ingests the set's documents once, as if each had been sent as JSON.

    Args:
        service: the service that ingests.
        plan: the plan of the run.
        drain: processes or sends the waiting tasks.
        progress: called with the number of documents that are done.

    Raises:
        NotFoundError: There is no such collection.
        InputError: Documents of the set cannot be read, or its evidence is not in those of the
            collection.
    """
    if plan.collection:
        await _check_evidence(service, plan)
        return
    passages = [passage for passage in plan.corpus.passages if passage.text.strip()]
    if await _is_whole(service, plan.scope, passages):
        return
    submissions = [_submission(service, plan.tenant, passage) for passage in passages]
    job_id = await service.ingest.accept(plan.scope, submissions, Trace(sampled=False))
    jobs = service.catalog.jobs
    draining = asyncio.ensure_future(drain())
    try:
        while (job := await jobs.get(plan.scope.tenant, job_id)).state in ("pending", "running"):
            progress(job.counts.get("succeeded", 0) + job.counts.get("failed", 0))
            if draining.done():
                draining.result()
            await asyncio.sleep(POLL_SECONDS)
        await draining  # the index is tidied after the last of them
    finally:
        draining.cancel()
    _check(job)


async def _check_evidence(service: Ingesting, plan: Plan) -> None:
    await service.catalog.collections.check_exists(plan.scope)
    there = set(await service.catalog.versions.document_ids(plan.scope))
    named = {id_ for gains in plan.corpus.qrels.values() for id_ in gains}
    if missing := sorted(named - there):
        raise InputError(
            f"The collection {plan.collection!r} has no document {missing[0]!r}, which the set"
            f" {plan.corpus.name} names as evidence ({len(missing):,} such)."
        )
    texts = {
        id_: (await service.catalog.documents.stored(plan.scope, id_)).text for id_ in sorted(named)
    }
    check_spans(plan.corpus.questions, texts)


async def _is_whole(service: Ingesting, scope: Scope, passages: Sequence[Passage]) -> bool:
    """True if all of the passages are stored already."""
    known_ones = {record.name for record in await service.catalog.collections.of(scope.tenant)}
    if scope.collection not in known_ones:
        return False
    return len(await service.catalog.versions.document_ids(scope)) == len(passages)


def _submission(service: Ingesting, tenant: str, passage: Passage) -> Submission:
    content = {"title": passage.title, "text": storable(passage.text)}
    return service.spool.of(tenant).put(
        json.dumps(content).encode(),
        uri=passage.id,
        document_id_=passage.id,
        title=passage.title,
    )


def _check(job: JobRecord) -> None:
    if failures := job.counts.get("failed", 0):
        listed = "; ".join(f"{f['uri']}: {f['error']}" for f in job.failures[:MAX_LISTED_FAILURES])
        raise InputError(f"{failures:,} documents of the set could not be ingested: {listed}")


Put = Callable[[Question], Awaitable[Outcome]]
"""Asks a question; the outcome is not compared with the judgements yet."""


async def ask(
    service: Service,
    plan: Plan,
    questions: Iterable[Question],
    take: Callable[[Outcome], None],
    *,
    at_once: int,
    scorer: Scorer | None = None,
) -> None:
    """Asks a service questions, and passes the outcome of each to `take` as it ends."""
    await ask_by(
        lambda question: put(service, plan, question, scorer),
        plan,
        questions,
        take,
        at_once=at_once,
        traces=service.observer.traces,
    )


async def ask_by(
    put: Put,
    plan: Plan,
    questions: Iterable[Question],
    take: Callable[[Outcome], None],
    *,
    at_once: int,
    traces: Traces,
) -> None:
    """Asks questions by `put`, and passes the measured outcome of each to `take` as it ends."""
    waiting = iter(questions)
    slices = plan.corpus.slices()

    async def client() -> None:
        for question in waiting:
            outcome = await put(question)
            gains = plan.corpus.qrels.get(question.id, {})
            measured = measure(question, gains, outcome, plan.measures)
            own = {n: v for n, v in slices.get(question.id, {}).items() if n != ANSWERABLE}
            parts = {**slices_of(question), **own}
            outcome = replace(
                outcome,
                measures={**outcome.measures, **measured},
                slices=parts,
                expected=question.answers if question.answerable else (),
            )
            take(outcome)
            if plan.name:
                traces.score(_scores(outcome, plan.tenant))

    try:
        async with asyncio.TaskGroup() as clients:
            for _ in range(min(at_once, plan.settings.limits.questions)):
                clients.create_task(client())
    except ExceptionGroup as group:
        raise group.exceptions[0] from None  # the other clients were cancelled because of it


def _scores(outcome: Outcome, tenant: str) -> list[Score]:
    return [
        Score(name=name, value=value, trace_id=outcome.trace_id, tenant=tenant)
        for name, value in outcome.measures.items()
    ]


async def put(service: Service, plan: Plan, question: Question, scorer: Scorer | None) -> Outcome:
    """Asks a question and returns its outcome; a failure is one, too."""
    query = Query(text=question.text, scope=plan.scope, top_k=plan.top_k)
    trace = Trace(experiment=plan.experiment(question), sampled=bool(plan.name))
    outcome = Outcome(id=question.id, question=question.text, slices={}, timings={}, measures={})
    started = time.perf_counter()
    seconds = 0.0
    try:
        if plan.answers:
            answer = await service.query.answer(query, trace)
            seconds = time.perf_counter() - started
            hits = answer.hits
            outcome = _of_answer(outcome, question, answer)
            if scorer:
                outcome = replace(outcome, measures=await scorer(question, answer))
        else:
            result = await service.query.search(query, trace)
            seconds = time.perf_counter() - started
            hits = result.hits
            outcome = replace(outcome, hits=_found(hits), degraded=result.degraded)
        ranked = await rank_documents(service.query.search, query, hits, trace.experiment)
        outcome = replace(outcome, documents=ranked.ids, chunks_asked=ranked.chunks_asked)
    except RagError as error:
        outcome = replace(outcome, error=f"{error.code}: {error}")
    return replace(outcome, seconds=seconds, timings=dict(trace.timings), trace_id=trace.id)


def _of_answer(outcome: Outcome, question: Question, answer: Answer) -> Outcome:
    return replace(
        outcome,
        hits=_found(answer.hits),
        answer=answer.text,
        reason=answer.reason,
        confidence=answer.confidence,
        citations=tuple(
            Cited(document_id=c.document_id, start=c.start, end=c.end, support=c.support)
            for c in answer.citations
        ),
        unsupported=len(answer.unsupported),
        uncited=len(answer.uncited),
        claims=Counter(claim.outcome for claim in answer.claims),
        refused_right=_refused_right(question, answer),
        wrong_figures=len(unstated_figures(answer.text, answer.passages)),
        degraded=answer.degraded,
        input_tokens=answer.usage.input_tokens,
        output_tokens=answer.usage.output_tokens,
        cost=answer.usage.cost,
    )


def _refused_right(question: Question, answer: Answer) -> int:
    """Counts the refused claims that have a gold answer."""
    texts = [claim.text.lower() for claim in answer.claims if claim.objection]
    return sum(any(gold.lower() in text for gold in question.answers) for text in texts)


def _found(hits: Sequence[Hit]) -> tuple[Found, ...]:
    return tuple(
        Found(
            chunk_id=hit.chunk.id,
            document_id=hit.chunk.document_id,
            start=hit.chunk.start,
            end=hit.chunk.end,
            score=hit.score,
        )
        for hit in hits
    )
