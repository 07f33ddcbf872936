"""The cost of the graph at 50,000 chunks, and its recall under filters.

Measured: seconds from the last write to a graph of all points, by turns in the layout that a
collection is made with and in the one before, and recall@10 without a filter and under filters that
keep 1 to 99 % of the points. Of four kinds of filter the one with the lowest recall counts: groups
drawn at random and parts of the order of writing, each with an index before the graph and after it.
Every question keeps other groups, so that whatever point a search begins at, some leave it out.

Both layouts, the server's and the embedded index's, run on the engine that is embedded: no server
is needed. Vectors are of sentences, no two alike: points with one vector link to each other alone,
and what the graph then misses is its method's. It takes a quarter of an hour, so it runs only where
it is named: `python -m benchmarks.run graph`.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks._common import Report, SkippedError, Target, data_folder
from benchmarks._graphs import (
    FIELDS,
    KEPT,
    LATER,
    Graph,
    Layout,
    edge,
    edge_before,
    server,
    server_before,
)
from benchmarks._texts import sentences
from rag.build.embedding import build_embedder
from rag.settings.tree import load_settings
from rag.types import Float32Array

CHUNKS = 50_000
QUESTIONS = 200


def run() -> Report:
    """Embeds, then builds and asks each layout in turn."""
    vectors, questions = asyncio.run(_vectors())
    report = Report()
    for name, layouts in (("server", (server_before, server)), ("edge", (edge_before, edge))):
        before, now = (_measured(layout, vectors, questions) for layout in layouts)
        report.add(
            f"{name}: graph built",
            now.pop("seconds"),
            unit="s",
            floor=before.pop("seconds"),
            target=Target(bound=0.4, by="ratio") if name == "server" else None,
        )
        report.add(f"{name}: CPU time", now.pop("cpu"), unit="s", floor=before.pop("cpu"))
        for measure, value in now.items():
            bound = 0.98 if measure == "recall@10" else 0.97
            target = Target(bound=bound, at_least=True) if measure.startswith("recall") else None
            report.add(f"{name}: {measure}", value, floor=before[measure], target=target)
    report.notes.append("the floor is the layout before; ms are means, and of the slowest filter")
    return report


async def _vectors() -> tuple[Float32Array, Float32Array]:
    """Of sentences that differ, evenly taken from all there are; questions are none of them."""
    texts = list(dict.fromkeys(sentences(data_folder("peps"))))
    wanted = CHUNKS + QUESTIONS
    if len(texts) < wanted:
        raise SkippedError(f"{len(texts):,} sentences, and it takes {wanted:,}")
    texts = [texts[i * len(texts) // wanted] for i in range(wanted)]
    embedder = build_embedder(load_settings().embedder)
    vectors = await embedder.embed(texts, kind="passage")
    embedder.close()
    is_question = np.zeros(wanted, bool)
    is_question[:: wanted // QUESTIONS] = True
    is_question[np.flatnonzero(is_question)[QUESTIONS:]] = False
    return vectors[~is_question], vectors[is_question]


def _measured(
    layout: Callable[[], Layout], vectors: Float32Array, questions: Float32Array
) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder:
        graph = Graph(layout(), vectors, Path(folder))
        found = {"seconds": graph.seconds, "cpu": graph.cpu_seconds}
        found["recall@10"], found["ms a search"] = graph.recall(questions)
        for kept in KEPT:
            each = [graph.recall(questions, field, kept) for field in (*FIELDS, *LATER)]
            found[f"recall@10, {kept} % kept"] = min(recall for recall, _ in each)
            found[f"ms a search, {kept} % kept"] = max(spent for _, spent in each)
        graph.close()
    return found
