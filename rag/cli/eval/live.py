"""`rag eval collect`, `drift`, `build` and `claims`: live answers, sets of questions, claims."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Iterator

from eval.online.drift import QUESTIONS, Report, compare, to_json, to_text
from eval.online.drift_plot import draw
from eval.online.live_dataset import collect
from rag.build.storage import open_answers
from rag.catalog.answers import Answers
from rag.cli import output
from rag.cli.progress import activity
from rag.cli.scope import scope_of
from rag.errors import InputError, StorageError
from rag.settings.tree import Settings
from rag.types import Scope

EXIT_DRIFTED = 3


async def run(args: argparse.Namespace, settings: Settings) -> int:
    """Runs the task; returns its exit code."""
    if args.task == "build":
        from rag.cli.eval.build import build

        return await build(args, settings)
    if args.task == "claims":
        from rag.cli.eval.check_claims import claims

        return await claims(args, settings)
    scope = scope_of(args)
    async with open_answers(settings) as (catalog, answers):
        await catalog.collections.check_exists(scope)
        if args.task == "collect":
            return await _collect(args, settings, scope, answers)
        return await _drift(args, scope, answers)


async def _collect(
    args: argparse.Namespace, settings: Settings, scope: Scope, answers: Answers
) -> int:
    now = time.time()
    with activity("Reading", quiet=args.json):
        given = await answers.given(scope, now - args.since, now)
        cases = collect(given, low=settings.online.low, sample=args.sample)
    try:
        with args.out.open("x", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(case, ensure_ascii=False)}\n" for case in cases)
    except FileExistsError as error:
        raise InputError(
            f"{args.out} exists, and may have been filled in: name another file."
        ) from error
    except OSError as error:
        raise StorageError(f"{args.out} cannot be written: {error.strerror}.") from error
    body = {
        "file": str(args.out),
        "answers": len(given),
        "without_words": sum(answer.content is None for answer in given),
        "cases": len(cases),
        "to_fill_in": sum(case["answer"] is None for case in cases),
    }
    output.show(body, output.collected, as_json=args.json)
    return 0


async def _drift(args: argparse.Namespace, scope: Scope, answers: Answers) -> int:
    now = time.time()
    begins = now - args.current
    with activity("Comparing", quiet=args.json):
        reference = await answers.signals(scope, begins - args.reference, begins)
        current = await answers.signals(scope, begins, now)
        report = await asyncio.to_thread(compare, reference, current)
    ids = [current[place].id for place in report.unlike]
    unlike = [
        await answers.question(scope.tenant, id_) or "(its words are not kept)" for id_ in ids
    ]
    body = to_json(report) | {"unlike": unlike}
    output.show(body, lambda _: _drift_lines(report, unlike), as_json=args.json)
    if args.plot:
        try:
            await asyncio.to_thread(draw, report, reference, current, args.plot)
        except OSError as error:
            raise StorageError(f"{args.plot} cannot be written: {error.strerror}.") from error
    return EXIT_DRIFTED if report.drifted else 0


def _drift_lines(report: Report, unlike: list[str]) -> Iterator[str]:
    yield from to_text(report)
    if any(row.drifted for row in report.rows if row.signal == QUESTIONS):
        yield "Most unlike the questions of before:"
    yield from (f"  {question}" for question in unlike)
