"""`rag eval run`: runs sets of questions through the pipeline, each into a folder."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from eval.datasets.loading import load_set
from eval.measures.ranking import to_trec
from eval.measures.registry import known
from eval.offline.plan import Plan, now, settings_for
from eval.offline.run import Progress, Put, ask_by
from eval.offline.summary import summarize
from eval.runs.run_folder import Outcome, RunFolder, is_finished
from rag.build.queue_backends import queue_backend
from rag.cli import output
from rag.cli.progress import activity, progress_bar
from rag.cli.scope import caller
from rag.errors import InputError
from rag.feedback.observer import Traces
from rag.settings.tree import Settings


async def run(args: argparse.Namespace, settings: Settings) -> int:
    """Runs each set; returns 1 if a question failed."""
    plans = [await _plan(name, args, settings) for name in args.sets]
    if len({plan.slug for plan in plans}) < len(plans):
        raise InputError(
            "Two of the sets have one name, and would have one folder: run them apart."
        )
    failed = 0
    for plan in plans:
        out = args.out / plan.slug if len(plans) > 1 else args.out
        if len(plans) > 1 and is_finished(out, plan.info()):
            continue  # finished before the command was stopped
        summary = await _run(plan, out, settings, args)
        failed += summary["failed"]
        output.show_at_once(summary, output.evaluated, as_json=args.json)
    return int(failed > 0)


def _cache(args: argparse.Namespace, settings: Settings) -> Path:
    return args.cache or settings.data_dir / "eval"


async def _plan(name: str, args: argparse.Namespace, settings: Settings) -> Plan:
    with activity(f"Loading {name}", quiet=args.json):
        corpus = await asyncio.to_thread(load_set, name, settings.traces)
    return Plan(
        corpus=corpus.sample(args.sample) if args.sample else corpus,
        settings=settings_for(settings, _cache(args, settings), args.collection),
        tenant=caller(args).tenant,
        collection=args.collection,
        top_k=args.top_k,
        answers=not args.search,
        scores=args.scores,
        named=known(args.measures),
        name=args.out.resolve().name,
    )


async def _run(plan: Plan, out: Path, settings: Settings, args: argparse.Namespace) -> output.Json:
    """Runs one set into its folder.

    1. ingest  2. ask the remaining questions  3. summarize
    """
    with RunFolder(out, plan.info()) as folder:
        plan = replace(plan, started=folder.info.started)  # one experiment, even if it was stopped
        async with contextlib.AsyncExitStack() as stack:
            with _progress("Ingesting", len(plan.corpus.passages), quiet=args.json) as progress:
                opening = queue_backend(settings).question_dispatcher(
                    plan, _cache(args, settings), progress
                )
                put, traces = await stack.enter_async_context(opening)  # 1.
            await _ask(put, traces, plan, folder, args)  # 2.
        outcomes = folder.outcomes()
        summary = summarize(outcomes)  # 3.
        folder.finish(summary, to_trec(outcomes), finished=now())
    return {"run": str(out), "set": plan.corpus.name, **summary}


async def _ask(
    put: Put, traces: Traces, plan: Plan, folder: RunFolder, args: argparse.Namespace
) -> None:
    todo = [question for question in plan.corpus.questions if question.id not in folder.done]
    answered = len(folder.done)
    with _progress("Asking", len(plan.corpus.questions), quiet=args.json) as progress:

        def take(outcome: Outcome) -> None:
            nonlocal answered
            folder.append(outcome)
            answered += 1
            progress(answered)

        await ask_by(put, plan, todo, take, at_once=args.at_once, traces=traces)


@contextlib.contextmanager
def _progress(title: str, total: int, *, quiet: bool) -> Iterator[Progress]:
    with progress_bar(title, total, quiet=quiet) as bar:
        yield lambda done: bar.update(bar.task_ids[0], completed=done)
