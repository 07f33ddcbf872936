"""The gain of each step of retrieval on every test set, by the product's own evaluation.

Each set's documents are ingested as they come, and its questions put to the pipeline with one leg,
with the other, with both, and with the default reranker; each row is what `rag eval run --search`
finds with the settings of that row. Of a passage's set it is seen where the document stands, of
chunk-spans how many characters of the evidence the first 2,000 retrieved ones hold.

    python -m benchmarks.run tables

prints the tables of docs/quality.md: means with 95 % intervals.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks._common import Report
from benchmarks._rankings import corpus_of
from eval.datasets.corpus import Corpus
from eval.offline.plan import Plan, settings_for
from eval.offline.run import ask, ingest
from eval.offline.stage_cache import LocalStages
from eval.offline.summary import summarize
from eval.runs.run_folder import Outcome
from rag.build.running import start
from rag.cli.eval.trials import Encoder
from rag.settings.tree import load_settings
from rag.types import DEFAULT_TENANT

PASSAGES = ("cranfield", "squad2-dev-a", "xquad-en", "xquad-de", "xquad-es", "xquad-zh")
SPANS = ("chunk-spans",)
RANKS = ("nDCG@10", "RR", "R@10")
CHARACTERS = ("span_recall@2000c", "span_precision@2000c", "span_iou@2000c")
NO_RERANKER = {"reranker": {"kind": "none"}}
SYSTEMS: Mapping[str, Mapping[str, Any]] = {
    "dense": {**NO_RERANKER, "retrieval": {"weights": {"sparse": 0}}},
    "BM25": {**NO_RERANKER, "retrieval": {"weights": {"dense": 0}}},
    "RRF": NO_RERANKER,
    "RRF, reranked": {},
}
TOP_K = 100
"""Chunks of a question: ten documents are among them."""
AT_ONCE = 8


def run() -> Report:
    """Every set, row by row."""
    report = Report()
    with TemporaryDirectory(prefix="plumbline-bench-") as folder, Encoder.opened() as encoder:
        for names, measures in ((PASSAGES, RANKS), (SPANS, CHARACTERS)):
            report.notes += [_line("set", "", measures), _line("---", "---", ["---:"] * 3)]
            for name in names:
                corpus = corpus_of(name)
                for system in SYSTEMS:
                    found = asyncio.run(_measured(corpus, system, measures, Path(folder), encoder))
                    cells = [_cell(report, f"{name}, {system}", m, found[m]) for m in measures]
                    report.notes.append(_line(name, system, cells))
    return report


async def _measured(
    corpus: Corpus, system: str, measures: tuple[str, ...], folder: Path, encoder: Encoder
) -> Mapping[str, Any]:
    settings = settings_for(load_settings(**SYSTEMS[system]), folder)
    plan = Plan(
        tenant=DEFAULT_TENANT,
        corpus=corpus,
        settings=settings,
        top_k=TOP_K,
        answers=False,
        named=measures,
    )
    embedder, _ = await encoder.of(settings.embedder)
    made: list[Outcome] = []
    with LocalStages.opened(folder) as stages:
        wrappers = plan.trial_caches(stages)
        async with start(settings, wrappers, embedder) as (service, queue):
            await ingest(service, plan, queue.drain, lambda _: None)
            await ask(service, plan, corpus.questions, made.append, at_once=AT_ONCE)
    summary = summarize(made)
    if summary["failed"] or any(outcome.degraded for outcome in made):
        raise RuntimeError(f"{system} of {corpus.name} failed, or was degraded")
    found: Mapping[str, Any] = summary["measures"]
    return found


def _cell(report: Report, title: str, measure: str, found: Mapping[str, float]) -> str:
    report.add(f"{title}: {measure}", found["mean"])
    return f"{found['mean']:.3f} ({found['low']:.3f}–{found['high']:.3f})"


def _line(name: str, system: str, cells: Sequence[str]) -> str:
    return f"| {' | '.join([name, system, *cells])} |"
