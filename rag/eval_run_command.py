"""`rag eval run`: sets of questions through the pipeline, each into a folder."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from eval.measures import measured, summarize, to_trec
from eval.sets import load_set

from eval.caching import StageCache
from eval.offline import Plan, ask, ingest, settings_for
from eval.runs import Outcome, RunFolder
from rag import output
from rag.api.app import start
from rag.build import Service
from rag.client import Json
from rag.settings import CeleryQueueSettings, Settings
from workers.queue import Queue


async def run(args: argparse.Namespace, settings: Settings) -> int:
    """Runs each set; 1 where a question failed."""
    cache = args.cache or settings.data_dir / "eval"
    failed = 0
    for name in args.sets:
        corpus = load_set(name)
        plan = Plan(
            corpus=corpus,
            settings=settings if args.collection else settings_for(settings, cache),
            collection=args.collection,
            top_k=args.top_k,
            answers=not args.search,
        )
        out = args.out / corpus.name if len(args.sets) > 1 else args.out
        summary = await _run(plan, out, cache, at_once=args.at_once, quiet=args.json)
        failed += summary["failed"]
        output.show_at_once(summary, output.evaluated, as_json=args.json)
    return int(failed > 0)


async def _run(plan: Plan, out: Path, cache: Path, *, at_once: int, quiet: bool) -> Json:
    """1. ingest  2. ask what was not asked before  3. measure."""
    folder = RunFolder(out, plan.info())
    with StageCache.opened(cache / "stages.sqlite") as stages:
        async with start(plan.settings, plan.between(stages)) as (service, queue):
            async with _dispatching(plan.settings, queue):
                with _progress("Ingesting", len(plan.corpus.passages), quiet=quiet) as told:
                    await ingest(service, plan, queue.drain, told)  # 1.
            await _ask(service, plan, folder, at_once=at_once, quiet=quiet)  # 2.
    outcomes = measured(plan.corpus, folder.outcomes())  # 3.
    summary = summarize(outcomes)
    folder.finish(outcomes, summary, to_trec(outcomes))
    return {"run": str(out), "set": plan.corpus.name, **summary}


async def _ask(
    service: Service, plan: Plan, folder: RunFolder, *, at_once: int, quiet: bool
) -> None:
    questions = [q for q in plan.corpus.questions if q.id not in folder.done]
    with folder, _progress("Asking", len(plan.corpus.questions), quiet=quiet) as told:
        asked = len(folder.done)

        def take(outcome: Outcome) -> None:
            nonlocal asked
            folder.append(outcome)
            asked += 1
            told(asked)

        await ask(service, plan, questions, take, at_once=at_once)


@contextlib.asynccontextmanager
async def _dispatching(settings: Settings, queue: Queue) -> AsyncIterator[None]:
    """Workers are told of documents meanwhile, also of those that are tried again."""
    if isinstance(settings.queue, CeleryQueueSettings):
        async with queue.started():
            yield
    else:
        yield
