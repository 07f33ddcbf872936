"""An offline run: the questions of a set through exactly the pipeline that serves."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path

import rag
from eval.caching import CachedFinder, CachedRetriever, StageCache, key_of
from eval.corpus import Corpus, Passage, Question
from eval.measures import measure
from eval.runs import Cited, Found, Outcome, RunInfo
from eval.slices import slices_of
from rag.build import TENANT, Between, Service
from rag.errors import InputError, RagError
from rag.records import JobRecord, Submission
from rag.settings import OnlineSettings, Settings
from rag.telemetry import Experiment, Score, Trace
from rag.types import Answer, Hit, Query, Scope

POLL_SECONDS = 0.2
SHOWN_FAILURES = 3
_CODE = ("generation", "ingest", "rag", "retrieval")
Progress = Callable[[int], None]
"""Is told how many are done."""


def now() -> str:
    """ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be run.

    Attributes:
        corpus: the questions; its passages are ingested. Where it has none, `collection` is asked
            as it is.
        settings: of the pipeline; see `settings_for`.
        collection: one that exists.
        top_k: hits of each question.
        answers: whether questions are answered, or searched for alone.
        name: the run's, which is that of an experiment in Langfuse, where traces go there.
        started: ISO 8601, UTC.
    """

    corpus: Corpus
    settings: Settings
    collection: str | None = None
    top_k: int = 10
    answers: bool = True
    name: str = ""
    started: str = field(default_factory=now)

    def __post_init__(self) -> None:
        """Refuses what cannot be asked."""
        if not self.corpus.passages and not self.collection:
            raise InputError(
                f"The set {self.corpus.name} has no documents of its own: name the collection that"
                " has them with --collection."
            )

    @property
    def scope(self) -> Scope:
        """Whom the questions are put to: what is ingested alike shares a collection."""
        return Scope(tenant=TENANT, collection=self.collection or self._own_collection())

    def info(self) -> RunInfo:
        """What is written down of it."""
        asked = {"collection": self.collection, "top_k": self.top_k, "answers": self.answers}
        return RunInfo(
            set_name=self.corpus.name,
            set_fingerprint=self.corpus.fingerprint,
            questions=len(self.corpus.questions),
            config={**self.settings.model_dump(mode="json"), "run": asked},
            version=f"{rag.__version__}+{code_fingerprint()}",
            started=self.started,
        )

    def experiment(self, question: Question) -> Experiment:
        """How Langfuse knows a question of this run."""
        return Experiment(
            id=key_of(self.name, self.started)[:32],
            name=self.name,
            dataset=self.corpus.name,
            item_id=question.id,
            expected=question.answers,
        )

    def between(self, cache_: StageCache) -> Between:
        """What keeps the results of stages. A collection that lives may change: nothing is kept."""
        if self.collection:
            return Between()
        ranked = key_of(self.scope.collection, *self._parts("retrieval", "reranker"))
        read = key_of(ranked, *self._parts("retrieval"))
        return Between(
            retriever=lambda inner, index: CachedRetriever(
                inner, index, cache_, fingerprint=ranked
            ),
            finder=lambda inner, _: CachedFinder(inner, cache_, fingerprint=read),
        )

    def _own_collection(self) -> str:
        slug = re.sub(r"[^a-z0-9]+", "-", self.corpus.name.lower()).strip("-")[:40] or "set"
        parts = self._parts("chunker", "embedder", "reader", "index")
        tokens = self.settings.reranker.model_dump().get("stored", False)
        key = key_of(self.corpus.documents_fingerprint, code_fingerprint(), tokens, *parts)
        return f"{slug}-{key[:16]}"

    def _parts(self, *names: str) -> list[object]:
        return [getattr(self.settings, name).model_dump(mode="json") for name in names]


def settings_for(settings: Settings, cache_: Path) -> Settings:
    """The settings of a run: data in the cache's folder, and nothing of its answers is kept."""
    online = OnlineSettings(**{**settings.online.model_dump(), "keep_days": 0.0})
    return settings.model_copy(update={"data_dir": cache_ / "data", "online": online})


@cache
def code_fingerprint() -> str:
    """Names the code of all stages: after a change of it, nothing that was kept is used."""
    root = Path(rag.__file__).parent.parent
    digest = sha256()
    for file in sorted(file for name in _CODE for file in (root / name).rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


async def ingest(
    service: Service, plan: Plan, drain: Callable[[], Awaitable[None]], told: Progress
) -> None:
    """Has the set's documents ingested, as if each had been sent as JSON; once.

    Args:
        service: the pipeline.
        plan: what is to be run.
        drain: sees tasks on their way.
        told: is told how many documents are done.

    Raises:
        InputError: documents of the set cannot be read.
    """
    passages = [passage for passage in plan.corpus.passages if passage.text.strip()]
    if not passages or await _is_whole(service, plan.scope, passages):
        return
    await service.ingest.check_collection(plan.scope)
    submissions = [_submission(service, passage) for passage in passages]
    job_id = await service.catalog.submit(plan.scope, submissions, bulk=True)
    draining = asyncio.ensure_future(drain())
    try:
        while (job := await service.catalog.job(job_id)).state in ("pending", "running"):
            told(job.counts.get("succeeded", 0) + job.counts.get("failed", 0))
            if draining.done():
                draining.result()
            await asyncio.sleep(POLL_SECONDS)
        await draining  # the index is tidied after the last of them
    finally:
        draining.cancel()
    _check(job)


async def _is_whole(service: Service, scope: Scope, passages: Sequence[Passage]) -> bool:
    for record in await service.catalog.collections(scope.tenant):
        if record.name == scope.collection:
            failed = await service.catalog.documents(scope, limit=1, after="", state="failed")
            stored = await service.catalog.documents(scope, limit=1, after="", state="pending")
            return record.documents == len(passages) and not failed and not stored
    return False


def _submission(service: Service, passage: Passage) -> Submission:
    content = {"title": passage.title, "text": passage.text}
    return service.spool.put(
        json.dumps(content).encode(),
        uri=passage.id,
        document_id_=passage.id,
        title=passage.title,
    )


def _check(job: JobRecord) -> None:
    if failures := job.counts.get("failed", 0):
        shown = "; ".join(f"{f['uri']}: {f['error']}" for f in job.failures[:SHOWN_FAILURES])
        raise InputError(f"{failures:,} documents of the set could not be ingested: {shown}")


Scorer = Callable[[Question, Answer], Awaitable[Mapping[str, float]]]
"""What is found of an answer besides, by name."""


async def ask(
    service: Service,
    plan: Plan,
    questions: Iterable[Question],
    take: Callable[[Outcome], None],
    *,
    at_once: int,
    scorer: Scorer | None = None,
) -> None:
    """Puts questions, so many at once, and hands over what became of each as it ends."""
    waiting = iter(questions)
    slices = plan.corpus.slices()

    async def client() -> None:
        for question in waiting:
            outcome = await _outcome(service, plan, question, scorer)
            gains = plan.corpus.qrels.get(question.id, {})
            measures = {**outcome.measures, **measure(question, gains, outcome)}
            parts = {**slices.get(question.id, {}), **slices_of(question)}
            take(replace(outcome, measures=measures, slices=parts))
            service.observing.traces.score(
                [
                    Score(name=name, value=value, trace_id=outcome.trace_id, tenant=TENANT)
                    for name, value in measures.items()
                ]
            )

    async with asyncio.TaskGroup() as clients:
        for _ in range(at_once):
            clients.create_task(client())


async def _outcome(
    service: Service, plan: Plan, question: Question, scorer: Scorer | None
) -> Outcome:
    """What became of a question; a failure is one, too."""
    query = Query(text=question.text, scope=plan.scope, top_k=plan.top_k)
    trace, started = Trace(experiment=plan.experiment(question)), time.perf_counter()
    outcome = Outcome(id=question.id, question=question.text, slices={}, timings={}, measures={})
    try:
        if plan.answers:
            answer = await service.query.answer(query, trace)
            outcome = _of_answer(outcome, answer)
        else:
            hits = await service.query.search(query, trace)
            outcome = replace(outcome, hits=_found(hits), degraded=tuple(trace.degraded))
    except RagError as error:
        outcome = replace(outcome, error=f"{error.code}: {error}")
    seconds = time.perf_counter() - started
    if scorer and plan.answers and not outcome.error:
        outcome = replace(outcome, measures=await scorer(question, answer))
    return replace(outcome, seconds=seconds, timings=dict(trace.timings), trace_id=trace.id)


def _of_answer(outcome: Outcome, answer: Answer) -> Outcome:
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
        degraded=answer.degraded,
        input_tokens=answer.usage.input_tokens,
        output_tokens=answer.usage.output_tokens,
        cost=answer.usage.cost,
    )


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
