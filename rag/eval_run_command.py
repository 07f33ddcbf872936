"""`rag eval run`: sets of questions through the pipeline, each into a folder."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from eval.caching import StageCache
from eval.corpus import Question
from eval.measures import known
from eval.offline import Plan, Progress, Scorer, ask, ingest, now, settings_for
from eval.online import OnlineScorer, open_scorer
from eval.ranking import to_trec
from eval.runs import Outcome, RunFolder, is_finished
from eval.sets import load_set
from eval.summary import summarize
from rag import output
from rag.api.app import start
from rag.build import Service
from rag.client import Json
from rag.errors import InputError
from rag.progress import progress_bar
from rag.settings import Settings
from rag.types import Answer


async def run(args: argparse.Namespace, settings: Settings) -> int:
    """Runs each set; 1 where a question failed."""
    cache = args.cache or settings.data_dir / "eval"
    plans = [await _plan(name, args, settings, cache) for name in args.sets]
    if len({plan.slug for plan in plans}) < len(plans):
        raise InputError(
            "Two of the sets have one name, and would have one folder: run them apart."
        )
    failed = 0
    for plan in plans:
        out = args.out / plan.slug if len(plans) > 1 else args.out
        if len(plans) > 1 and is_finished(out, plan.info()):
            continue  # before it was stopped
        summary = await _run(plan, out, cache, args)
        failed += summary["failed"]
        output.show_at_once(summary, output.evaluated, as_json=args.json)
    return int(failed > 0)


async def _plan(name: str, args: argparse.Namespace, settings: Settings, cache: Path) -> Plan:
    corpus = await asyncio.to_thread(load_set, name, settings.traces)
    return Plan(
        corpus=corpus.sample(args.sample) if args.sample else corpus,
        settings=settings if args.collection else settings_for(settings, cache),
        collection=args.collection,
        top_k=args.top_k,
        answers=not args.search,
        scores=args.scores,
        named=known(args.measures),
        name=args.out.resolve().name,
    )


async def _run(plan: Plan, out: Path, cache: Path, args: argparse.Namespace) -> Json:
    """1. ingest  2. ask what was not asked before  3. sum up."""
    folder = RunFolder(out, plan.info())
    plan = replace(plan, started=folder.info.started)  # one experiment, though it was stopped
    with StageCache.opened(cache / "stages.sqlite") as stages:
        async with (
            start(plan.settings, plan.between(stages)) as (service, queue),
            _scoring(service, wanted=plan.scores) as scorer,
        ):
            with _progress("Ingesting", len(plan.corpus.passages), quiet=args.json) as told:
                await ingest(service, plan, queue.drain, told)  # 1.
            await _ask(service, plan, folder, scorer, args)  # 2.
    outcomes = folder.outcomes()
    summary = summarize(outcomes)  # 3.
    folder.finish(summary, to_trec(outcomes), finished=now())
    return {"run": str(out), "set": plan.corpus.name, **summary}


async def _ask(
    service: Service,
    plan: Plan,
    folder: RunFolder,
    scorer: Scorer | None,
    args: argparse.Namespace,
) -> None:
    todo = [question for question in plan.corpus.questions if question.id not in folder.done]
    asked = len(folder.done)
    with folder, _progress("Asking", len(plan.corpus.questions), quiet=args.json) as told:

        def take(outcome: Outcome) -> None:
            nonlocal asked
            folder.append(outcome)
            asked += 1
            told(asked)

        await ask(service, plan, todo, take, at_once=args.at_once, scorer=scorer)


@contextlib.contextmanager
def _progress(what: str, total: int, *, quiet: bool) -> Iterator[Progress]:
    with progress_bar(what, total, quiet=quiet) as bar:
        yield lambda done: bar.update(bar.task_ids[0], completed=done)


@contextlib.asynccontextmanager
async def _scoring(service: Service, *, wanted: bool) -> AsyncIterator[Scorer | None]:
    if not wanted:
        yield None
        return
    async with open_scorer(service, model=service.model, support=service.support) as scorer:
        yield lambda question, answer: _score(scorer, question, answer)


async def _score(scorer: OnlineScorer, question: Question, answer: Answer) -> Mapping[str, float]:
    """As a live answer is scored."""
    chunks = [hit.chunk for hit in answer.passages]
    found = await scorer.measure(
        question.text,
        answer.text,
        chunks,
        is_json=False,
        unsupported=len(answer.unsupported),
        uncited=len(answer.uncited),
    )
    verdict = await scorer.judge(question.text, answer.text, chunks)
    was_judged = verdict.failed or verdict.scores
    failed = {"judge_failed": float(verdict.failed)} if was_judged else {}
    return {**found, **verdict.scores, **failed}
