"""The cost of an offline run beside its pipeline, and the saving of a second run.

A thousand questions of squad2-dev-a, eight at a time, extractive answers. The floor is the pipeline
alone, asked the same questions by as many clients; both read a thousand other questions first. Then
the same run with another threshold of the generator: nothing is embedded and nothing searched for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks._common import Report, Target, data_folder
from eval.datasets.corpus import Corpus, Question, read_corpus
from eval.offline.plan import Plan, settings_for
from eval.offline.run import ask, ingest
from eval.offline.stage_cache import LocalStages
from eval.runs.run_folder import RunFolder
from rag.build.running import start
from rag.build.service import Service
from rag.settings.tree import Settings, load_settings
from rag.telemetry.trace import Trace
from rag.types import DEFAULT_TENANT, Query

ASKED = 1_000
AT_ONCE = 8


def run() -> Report:
    """Ask the pipeline, then run, then run again."""
    corpus = read_corpus(data_folder("squad2-dev-a"))
    with TemporaryDirectory(prefix="plumbline-bench-") as folder:
        return asyncio.run(_run(corpus.sample(2 * ASKED), Path(folder)))


async def _run(corpus: Corpus, folder: Path) -> Report:
    settings = settings_for(load_settings(), folder)
    questions, others = corpus.questions[:ASKED], corpus.questions[ASKED:]
    plan = Plan(
        tenant=DEFAULT_TENANT,
        corpus=replace(corpus, questions=questions),
        settings=settings,
        name="first",
    )
    async with start(settings) as (service, queue):
        await ingest(service, plan, queue.drain, lambda _: None)
        await _bare(service, plan, others)
        bare = await _bare(service, plan, questions)
    with LocalStages.opened(folder) as stages:
        first = await _offline(plan, stages, folder, others)
        before = stages.misses
        second = await _offline(_other(plan), stages, folder, ())
        made_anew = stages.misses - before
    report = Report()
    report.add(
        "questions/s, offline run",
        ASKED / first,
        floor=ASKED / bare,
        target=Target(bound=0.8, by="ratio", at_least=True),
    )
    report.add("questions/s, again with another generator", ASKED / second, floor=ASKED / first)
    report.add("stages made anew by then", made_anew, target=Target(bound=0))
    report.notes.append(f"{ASKED:,} questions, {AT_ONCE} at a time")
    return report


async def _bare(service: Service, plan: Plan, questions: Sequence[Question]) -> float:
    """Seconds that the pipeline alone takes."""
    waiting = iter(questions)

    async def client() -> None:
        for question in waiting:
            query = Query(text=question.text, scope=plan.scope, top_k=plan.top_k)
            await service.query.answer(query, Trace())

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    return time.perf_counter() - started


async def _offline(
    plan: Plan, stages: LocalStages, folder: Path, others: Iterable[Question]
) -> float:
    """Seconds that the run's questions take, measured and written."""
    async with start(plan.settings, plan.stage_caches(stages)) as (service, _):
        await ask(service, plan, others, lambda _: None, at_once=AT_ONCE)
        with RunFolder(folder / plan.name, plan.info()) as written:
            started = time.perf_counter()
            await ask(service, plan, plan.corpus.questions, written.append, at_once=AT_ONCE)
            return time.perf_counter() - started


def _other(plan: Plan) -> Plan:
    generator = plan.settings.generator.model_copy(update={"threshold": 0.2})
    settings: Settings = plan.settings.model_copy(update={"generator": generator})
    return replace(plan, settings=settings, name="second")
