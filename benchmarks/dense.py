"""Recall and time of the embedded index's dense leg, at 10,000 and at 100,000 chunks.

Measured: recall@10 against an exact search over all vectors, without a filter and with filters that
keep 1 to 99 % of the chunks; the p50 of the search alone, for which nothing is encoded; and its CPU
time, which depends less on what else the machine does. Of the two kinds of filter, groups drawn at
random and parts of the order of writing, the lowest recall and the longest time count. The leg is
asked as the product asks it, through `EdgeIndex`, at depth 100; questions keep different groups.

Vectors are those of `retrieval`: windows of 80 words over real texts, of which 25,000 are embedded.
At 100,000 chunks the three after each get its vector plus noise. Questions are those of a test set.
Embedding takes five minutes, so it runs only where it is named: `python -m benchmarks.run dense`.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks._common import Report, Target, p50
from benchmarks._texts import questions
from benchmarks.retrieval import chunks_of, near, windows
from rag.build.embedding import build_embedder
from rag.settings.tree import load_settings
from rag.types import Condition, Float32Array, Leg, Point, Scope
from retrieval.bm25 import Bm25Encoder
from retrieval.indexes.edge import EdgeIndex

EMBEDDED = 25_000
SIZES = (10_000, 100_000)
QUESTIONS = 200
GROUPS = 100
KEPT = (1, 10, 50, 90, 99)
"""Groups that filters keep, so also percents of the chunks."""
FIELDS = ("drawn", "written")
DEPTH, K = 100, 10
SAME = 1e-5
WRITTEN_AT_ONCE = 1_000
SCOPE = Scope(tenant="bench", collection="dense")
MOST_MS = Target(bound=3)


def run() -> Report:
    """Embeds, then fills and asks an index of each size."""
    return asyncio.run(_run())


async def _run() -> Report:
    report = Report()
    embedder = build_embedder(load_settings().embedder)
    real = await embedder.embed(windows(EMBEDDED), kind="passage")
    asked = await embedder.embed(questions(QUESTIONS), kind="query")
    embedder.close()
    for count in SIZES:
        vectors = near(real[:count], -(-count // EMBEDDED))
        with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder:
            index = EdgeIndex(Path(folder), dim=vectors.shape[1])
            await _measured(report, _Collection(index, vectors, asked))
            await index.close()
    report.notes.append(f"{QUESTIONS} questions, depth {DEPTH}; with a filter: the worse of two")
    return report


class _Collection:
    """An index of vectors whose chunks have a group of each kind, and its exact answers."""

    def __init__(self, index: EdgeIndex, vectors: Float32Array, asked: Float32Array) -> None:
        self._index = index
        self._vectors = vectors
        self._asked = asked
        self._scores = asked @ vectors.T  # now: between searches it would empty the CPU's caches
        self.count = len(vectors)
        drawn = np.random.default_rng(0).integers(0, GROUPS, self.count)
        self._groups = {"drawn": drawn, "written": np.arange(self.count) * GROUPS // self.count}

    async def fill(self) -> None:
        """Writes all chunks, with one word each, and builds the graph."""
        [word] = Bm25Encoder().encode(["word"])
        for first in range(0, self.count, WRITTEN_AT_ONCE):
            chunks = chunks_of(["word"] * min(WRITTEN_AT_ONCE, self.count - first), first)
            points = [
                Point(
                    chunk=replace(chunk, meta=self._meta(place)),
                    dense=self._vectors[place],
                    sparse=word,
                )
                for place, chunk in enumerate(chunks, start=first)
            ]
            await self._index.upsert(SCOPE, points)
        await self._index.maintain(SCOPE)

    def _meta(self, place: int) -> dict[str, str | int]:
        drawn, written = (int(self._groups[field][place]) for field in FIELDS)
        return {"drawn": _word(drawn), "written": written}

    async def ask(self, field: str | None = None, kept: int = GROUPS) -> tuple[float, float, float]:
        """Returns the mean recall@10, and the p50 of a search and of its CPU time in ms."""
        shares, times, cpu_times = [], [], []
        for number, question in enumerate(self._asked):
            first = number * (GROUPS - kept + 1) // len(self._asked)
            groups = range(first, first + kept)
            where = () if field is None else _within(field, groups)
            leg = Leg(name="dense", vector=question, limit=DEPTH, where=where)
            started, cpu = time.perf_counter(), time.process_time()
            [matches] = await self._index.search(SCOPE, [leg])
            times.append((time.perf_counter() - started) * 1e3)
            cpu_times.append((time.process_time() - cpu) * 1e3)
            tenth = self._tenth(self._scores[number], field, groups)
            shares.append(sum(match.score >= tenth - SAME for match in matches[:K]) / K)
        return float(np.mean(shares)), p50(times), p50(cpu_times)

    def _tenth(self, scores: Float32Array, field: str | None, groups: Sequence[int]) -> float:
        """Returns the tenth highest score of the chunks that a filter keeps."""
        if field is not None:
            scores = scores[np.isin(self._groups[field], groups)]
        return float(np.partition(scores, -K)[-K])


def _within(field: str, groups: Sequence[int]) -> tuple[Condition, ...]:
    """Returns the filter that keeps these groups, which follow one another."""
    if field == "drawn":
        return (Condition(field=field, op="in", value=tuple(map(_word, groups))),)
    return (
        Condition(field=field, op="gte", value=groups[0]),
        Condition(field=field, op="lte", value=groups[-1]),
    )


def _word(group: int) -> str:
    return f"group {group}"


async def _measured(report: Report, collection: _Collection) -> None:
    started = time.perf_counter()
    await collection.fill()
    size = f"{collection.count:,} chunks"
    report.add(f"{size}: written, with their graph", time.perf_counter() - started, unit="s")
    _add(report, size, await collection.ask(), bound=0.98)
    for kept in KEPT:
        both = np.array([await collection.ask(field, kept) for field in FIELDS])
        worse = (both[:, 0].min(), both[:, 1].max(), both[:, 2].max())
        _add(report, f"{size}, {kept} % kept", worse, bound=0.97)


def _add(report: Report, name: str, found: tuple[float, float, float], *, bound: float) -> None:
    recall, ms, cpu = found
    report.add(f"{name}: recall@{K}", recall, target=Target(bound=bound, at_least=True))
    report.add(f"{name}: search p50", ms, unit="ms", target=MOST_MS)
    report.add(f"{name}: search, CPU", cpu, unit="ms")
