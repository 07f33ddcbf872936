"""`rag eval tune`: searches for better settings and reports the result."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from eval.datasets.corpus import Corpus, Question
from eval.datasets.loading import load_set
from eval.measures.registry import known, measure
from eval.measures.statistics import Difference, compare
from eval.offline.plan import now
from eval.offline.stage_cache import LocalStages
from eval.offline.tune import Score, Space, Tried, Value, best, halves, read_space, search
from eval.runs.run_folder import Outcome
from eval.runs.tables import EXPENSES, NEUTRAL
from rag.cli import output
from rag.cli.eval.trials import Encoder, Trials
from rag.cli.progress import activity, progress_bar
from rag.errors import InputError, StorageError
from rag.settings.tree import Settings


async def run(args: argparse.Namespace, settings: Settings) -> int:
    """Searches for better settings and writes the result; returns 0.

    1. search on one half  2. compare on the other  3. write the result
    """
    space = read_space(args.space)
    (name,) = known([args.measure])
    if name in EXPENSES or NEUTRAL.fullmatch(name):
        raise InputError(f"More of {name} is not better: choose another --measure.")
    if args.out.exists() or not args.out.parent.is_dir():
        raise InputError(f"{args.out} exists, or its folder does not: name another file.")
    corpus = await asyncio.to_thread(load_set, args.set, settings.traces)
    corpus = _applicable(corpus, name)
    train, held_out = (half.questions for half in halves(corpus))
    if not train or not held_out:
        raise InputError(f"{args.set} says too little of {name}: choose another --measure.")
    cache = args.cache or settings.data_dir / "eval"
    with LocalStages.opened(cache) as stages, Encoder.opened() as encoder:
        trials = Trials(
            corpus=corpus,
            cache=cache,
            stages=stages,
            encoder=encoder,
            measure=name,
            top_k=args.top_k,
            at_once=args.at_once,
        )
        tried = await _search(trials, space, train, _as_it_is(space, settings), args)  # 1.
        chosen = best(tried)
        with activity("Comparing", quiet=args.json):
            difference = await _judge(trials, held_out, tried[0].settings, chosen.settings)  # 2.
    kept = chosen if difference.mean > 0 else tried[0]
    body = {
        "file": str(args.out),
        "set": corpus.name,
        "measure": name,
        "trials": [_trial_json(each) for each in tried],
        "asked": trials.asked,
        "best": dict(chosen.settings),
        "settings": dict(kept.settings),
        "train": {"questions": len(train), "best": chosen.score, "now": tried[0].score},
        "held_out": {"questions": difference.n, "difference": difference.mean,
                     "low": difference.interval.low, "high": difference.interval.high,
                     "p": difference.p, "wins": difference.wins, "losses": difference.losses},
    }  # fmt: skip
    output.show(body, output.tuned, as_json=args.json)
    _write(args.out, kept.settings, body)  # 3.
    return 0


async def _search(
    trials: Trials,
    space: Space,
    questions: Sequence[Question],
    as_it_is: Mapping[str, Value],
    args: argparse.Namespace,
) -> list[Tried]:
    @contextlib.asynccontextmanager
    async def opened(settings: Mapping[str, Value]) -> AsyncIterator[Score]:
        async with trials.opened(settings) as trial:
            yield lambda count: trial.values(questions[:count])

    with progress_bar("Trials", args.trials, quiet=args.json) as bar:
        return await search(
            space,
            opened,
            questions=len(questions),
            trials=args.trials,
            seed=args.seed,
            as_it_is=as_it_is,
            on_trial=lambda _: bar.advance(bar.task_ids[0]),
        )


async def _judge(
    trials: Trials,
    questions: Sequence[Question],
    before: Mapping[str, Value],
    now_: Mapping[str, Value],
) -> Difference:
    """Compares the best settings with the earlier ones, on questions unused in the search."""
    async with trials.opened(before) as trial:
        old = await trial.values(questions)
    async with trials.opened(now_) as trial:
        new = await trial.values(questions)
    differences = np.array(new) - np.array(old)
    return compare({trials.measure: differences})[trials.measure]


def _applicable(corpus: Corpus, name: str) -> Corpus:
    """Returns the questions that a measure applies to; the set decides it, not an outcome."""
    nothing = Outcome(id="", question="", slices={}, timings={}, measures={})
    return corpus.only(
        {
            q.id
            for q in corpus.questions
            if name in measure(q, corpus.qrels.get(q.id, {}), nothing, [name])
        }
    )


def _as_it_is(space: Space, settings: Settings) -> dict[str, Value]:
    """Returns the current values of the searched settings, without those that are not set."""
    found: dict[str, Value] = {}
    for name in space.settings:
        value: object = settings.model_dump(mode="json")
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, str | int | float | bool):
            found[name] = value
    return found


def _trial_json(tried: Tried) -> dict[str, object]:
    return {"settings": dict(tried.settings), "score": tried.score if tried.values else None,
            "questions": len(tried.values), "stopped": tried.stopped,
            "fault": tried.fault}  # fmt: skip


def _write(file: Path, settings: Mapping[str, Value], body: Mapping[str, object]) -> None:
    try:
        with file.open("x", encoding="utf-8") as written:
            written.writelines(f"{line}\n" for line in _toml(settings, body))
    except OSError as error:
        raise StorageError(f"{file} cannot be written: {error.strerror}.") from error


def _toml(settings: Mapping[str, Value], body: Mapping[str, object]) -> Iterator[str]:
    """Yields the settings as TOML, below comments with the evidence for them."""
    yield f"# Found by `rag eval tune` on {now()}:"
    for name in ("set", "measure", "train", "held_out"):
        yield f"# {name}: {json.dumps(body[name])}"
    tables: dict[str, list[str]] = {}
    for name, value in settings.items():
        table, _, leaf = name.rpartition(".")
        tables.setdefault(table, []).append(f"{leaf} = {json.dumps(value, ensure_ascii=False)}")
    for table in sorted(tables):  # those without a table come first
        yield ""
        if table:
            yield f"[{table}]"
        yield from tables[table]
