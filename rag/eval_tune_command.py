"""`rag eval tune`: a search for better settings, and what it found."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from eval.caching import STAGES, StageCache
from eval.corpus import Corpus
from eval.measures import ANSWERS, CITATIONS, CONDUCT, known, measure
from eval.offline import Plan, ask, ingest, now, settings_for
from eval.runs import Outcome
from eval.sets import load_set
from eval.statistics import Difference, compare
from eval.tune import Range, Space, Tried, Value, best, halves, nested, read_space, search
from rag import output
from rag.api.app import start
from rag.errors import InputError, StorageError
from rag.progress import progress_bar
from rag.settings import Settings, load_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """What asks questions with settings, and keeps the stages of all trials."""

    cache: Path
    stages: StageCache
    measure: str
    top_k: int
    at_once: int

    async def outcomes(
        self, corpus: Corpus, settings: Mapping[str, Value], questions: int
    ) -> list[Outcome]:
        """What becomes of the first so many questions."""
        plan = Plan(
            corpus=replace(corpus, questions=corpus.questions[:questions]),
            settings=settings_for(load_settings(**nested(settings)), self.cache),
            top_k=self.top_k,
            answers=_of_answers(self.measure),
        )
        made: list[Outcome] = []
        async with start(plan.settings, plan.between(self.stages)) as (service, queue):
            await ingest(service, plan, queue.drain, lambda _: None)
            await ask(service, plan, plan.corpus.questions, made.append, at_once=self.at_once)
        return sorted(made, key=lambda outcome: outcome.id)

    def values(self, outcomes: list[Outcome]) -> dict[str, float]:
        """The measure by question."""
        return {outcome.id: outcome.measures[self.measure] for outcome in outcomes}


async def run(args: argparse.Namespace, settings: Settings) -> int:
    """1. search with one half  2. judge with the other  3. write it down."""
    space = read_space(args.space)
    (name,) = known([args.measure])
    if args.out.exists() or not args.out.parent.is_dir():
        raise InputError(f"{args.out} exists, or its folder does not: name another file.")
    corpus = await asyncio.to_thread(load_set, args.set, settings.traces)
    train, held_out = halves(_with_a_say(corpus, name))
    if not train.questions or not held_out.questions:
        raise InputError(f"{args.set} says too little of {name}: choose another --measure.")
    cache = args.cache or settings.data_dir / "eval"
    trials = Trials(
        cache=cache,
        stages=StageCache(cache / STAGES),
        measure=name,
        top_k=args.top_k,
        at_once=args.at_once,
    )
    tried = await _search(trials, space, train, _as_they_are(space, settings), args)  # 1.
    chosen = best(tried)
    difference = await _judge(trials, held_out, tried[0].settings, chosen.settings)  # 2.
    body = {
        "file": str(args.out),
        "set": corpus.name,
        "measure": name,
        "trials": [_told(each) for each in tried],
        "best": dict(chosen.settings),
        "train": {"questions": len(train.questions), "best": chosen.score, "now": tried[0].score},
        "held_out": {"questions": difference.n, "difference": difference.mean,
                     "low": difference.interval.low, "high": difference.interval.high,
                     "p": difference.p, "wins": difference.wins, "losses": difference.losses},
    }  # fmt: skip
    output.show(body, output.tuned, as_json=args.json)
    _write(args.out, chosen.settings, body)  # 3.
    return 0


async def _search(
    trials: Trials,
    space: Space,
    train: Corpus,
    first: Mapping[str, Value],
    args: argparse.Namespace,
) -> list[Tried]:
    async def score(settings: Mapping[str, Value], questions: int) -> float:
        outcomes = await trials.outcomes(train, settings, questions)
        return float(np.mean(list(trials.values(outcomes).values())))

    with progress_bar("Trials", args.trials, quiet=args.json) as bar:
        return await search(
            space,
            score,
            questions=len(train.questions),
            trials=args.trials,
            seed=args.seed,
            first=first,
            told=lambda _: bar.advance(bar.task_ids[0]),
        )


async def _judge(
    trials: Trials, held_out: Corpus, before: Mapping[str, Value], now_: Mapping[str, Value]
) -> Difference:
    """By how much the best settings are above those there were, on questions they never saw."""
    count = len(held_out.questions)
    old = trials.values(await trials.outcomes(held_out, before, count))
    new = trials.values(await trials.outcomes(held_out, now_, count))
    differences = np.array([new[id_] - old[id_] for id_ in old])
    return compare({trials.measure: differences})[trials.measure]


def _with_a_say(corpus: Corpus, name: str) -> Corpus:
    """The questions that have a say in a measure, which is up to the set and not to an outcome."""
    nothing = Outcome(id="", question="", slices={}, timings={}, measures={})
    return corpus.only(
        {
            q.id
            for q in corpus.questions
            if name in measure(q, corpus.qrels.get(q.id, {}), nothing, [name])
        }
    )


def _as_they_are(space: Space, settings: Settings) -> dict[str, Value]:
    """The settings in force, as far as they are searched."""
    found: dict[str, Value] = {}
    for name in space.settings:
        value: object = settings
        for part in name.split("."):
            value = getattr(value, part, None)
        if not isinstance(value, str | int | float | bool):
            raise InputError(
                f"{name!r} is not set now (it is {value!r}): set it, so that there is something to"
                " compare with."
            )
        if not _has(space.settings[name], value):
            raise InputError(
                f"{name!r} is {value!r} now, which is not in the space: it is the first trial, so"
                " that there is something to compare with."
            )
        found[name] = value
    return found


def _has(choice: Range | list[Value], value: Value) -> bool:
    if isinstance(choice, list):
        return value in choice
    return isinstance(value, int | float) and choice.low <= value <= choice.high


def _of_answers(measure: str) -> bool:
    """Whether questions are to be answered for it; where hits stand is known without."""
    return measure in {*ANSWERS, *CITATIONS, *CONDUCT}


def _told(tried: Tried) -> dict[str, object]:
    return {"settings": dict(tried.settings), "score": tried.score,
            "questions": tried.questions, "stopped": tried.stopped}  # fmt: skip


def _write(file: Path, settings: Mapping[str, Value], body: Mapping[str, object]) -> None:
    try:
        with file.open("x", encoding="utf-8") as written:
            written.writelines(f"{line}\n" for line in _toml(settings, body))
    except OSError as error:
        raise StorageError(f"{file} cannot be written: {error.strerror}.") from error


def _toml(settings: Mapping[str, Value], body: Mapping[str, object]) -> Iterator[str]:
    """The settings, below what speaks for them."""
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
