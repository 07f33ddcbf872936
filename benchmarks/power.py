"""Whether `rag eval compare` tells configurations that differ from one that was asked twice.

Ten times the settings as they are put 400 answerable questions of squad2-dev-a, search alone, then
the same questions again, and then one of ten other settings. Each of the 30 runs has its own noise:
in one of four questions, drawn by the run's seed, two letters of a word change places, as in what
people type. So the first two runs of each ten are drawn alike, and whatever a comparison is sure of
in them is a false alarm; of the third it should be sure of something.

The other settings were chosen on 600 questions that are not among the 400. They are compared as by
`rag eval compare`, with Holm's correction over all measures but seconds, which are the machine's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks._common import Report, Target, data_folder
from eval.compare.comparison import ALPHA, Comparison, compare
from eval.datasets.corpus import Corpus, Question, read_corpus
from eval.offline.plan import Plan, settings_for
from eval.offline.run import ask, ingest
from eval.offline.stage_cache import LocalStages
from eval.runs.run_folder import Outcome, Run
from rag.build.running import start
from rag.settings.tree import Settings, load_settings
from rag.types import DEFAULT_TENANT

ASKED = 400
TYPOS = 0.25
"""Share of questions that have one."""
AT_ONCE = 8
ALARMS = 2
"""Of ten pairs alike, the level lets more than these alarm once in a hundred times."""
NO_RERANKER = {"kind": "none"}
OTHERS: tuple[Mapping[str, Any], ...] = (
    {"reranker": NO_RERANKER},
    {"reranker": {"depth": 2}},
    {"reranker": NO_RERANKER, "retrieval": {"depth": 1}},
    {"reranker": NO_RERANKER, "retrieval": {"rrf_k": 60}},
    {"reranker": NO_RERANKER, "retrieval": {"rrf_k": 1}},
    {"retrieval": {"diversity": 0.9}},
    {"chunker": {"max_tokens": 32}},
    {"chunker": {"max_tokens": 64}},
    {"chunker": {"kind": "recursive", "max_tokens": 32}},
    {"chunker": {"kind": "recursive", "max_tokens": 200}},
)


@dataclass(frozen=True, slots=True)
class QuestionRunner:
    """Runs one set's questions with different settings; a folder caches the stages' results."""

    corpus: Corpus
    folder: Path

    async def run(self, settings: Settings, *, seed: int) -> Run:
        """Runs the questions with this seed's noise and returns their outcomes."""
        plan = Plan(tenant=DEFAULT_TENANT, corpus=self.corpus, settings=settings, answers=False)
        rng = np.random.default_rng(seed)
        questions = [_typed(question, rng) for question in self.corpus.questions]
        made: list[Outcome] = []
        with LocalStages.opened(self.folder) as stages:
            async with start(settings, plan.stage_caches(stages)) as (service, queue):
                await ingest(service, plan, queue.drain, lambda _: None)
                await ask(service, plan, questions, made.append, at_once=AT_ONCE)
        outcomes = sorted((replace(o, seconds=0.0) for o in made), key=lambda o: o.id)
        return Run(folder=Path(str(seed)), info=plan.info(), outcomes=tuple(outcomes), summary={})


def run() -> Report:
    """Thirty runs, in tens."""
    corpus = read_corpus(data_folder("squad2-dev-a"))
    answerable = corpus.only({q.id for q in corpus.questions if q.answerable})
    with TemporaryDirectory(prefix="plumbline-bench-") as folder:
        return asyncio.run(_run(QuestionRunner(answerable.sample(ASKED), Path(folder))))


async def _run(runner: QuestionRunner) -> Report:
    report = Report()
    alarms, found = 0, 0
    for n, other in enumerate(OTHERS):
        seeds = range(3 * n, 3 * n + 3)
        settings = [_settings(runner.folder, each) for each in ({}, {}, other)]
        runs = [await runner.run(s, seed=seed) for s, seed in zip(settings, seeds, strict=True)]
        (repeated,) = compare(runs[:2])
        (differing,) = compare([runs[0], runs[2]])
        alarms += bool(_sure(repeated))
        found += bool(_sure(differing))
        report.notes.append(f"{_written(other)}: {_summary(differing)}")
        if _sure(repeated):
            report.notes.append(
                f"false alarm, seeds {seeds[0]} and {seeds[1]}: {_summary(repeated)}"
            )
    pairs = len(OTHERS)
    report.add(f"false alarms in {pairs} pairs alike", alarms, target=Target(bound=ALARMS))
    report.add(f"found of {pairs} that differ", found, target=Target(bound=pairs, at_least=True))
    report.notes.append(
        f"{len(runner.corpus.questions)} questions a run, level {ALPHA:g} for all measures together"
    )
    return report


def _settings(folder: Path, other: Mapping[str, Any]) -> Settings:
    return settings_for(load_settings(**other), folder)


def _typed(question: Question, rng: np.random.Generator) -> Question:
    """Returns the question, perhaps with two neighbouring letters of a word exchanged."""
    text = question.text
    places = [i for i in range(1, len(text) - 1) if text[i : i + 2].isalpha()]
    if not places or rng.random() >= TYPOS:
        return question
    i = int(rng.choice(places))
    return replace(question, text=text[:i] + text[i + 1] + text[i] + text[i + 2 :])


def _sure(comparison: Comparison) -> list[str]:
    return [row.measure for row in comparison.rows if row.verdict]


def _summary(comparison: Comparison) -> str:
    """Returns the differences of all significant measures, and of nDCG@10 in any case."""
    rows = [row for row in comparison.rows if row.verdict or row.measure == "nDCG@10"]
    return ", ".join(
        f"{row.measure} {row.difference:+.3f}" + ("" if row.verdict else " (not sure)")
        for row in rows
    )


def _written(settings: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{part}.{name} = {value}" for part, own in settings.items() for name, value in own.items()
    )
