"""The answer cache: what a hit takes, what it saves, and what a miss adds.

Over REST, with real `rag serve` processes on loopback over the shipped examples: a hit, with one
client, beside `GET /healthz` of the same server, by turns; the hits a second with 32 clients beside
the answers a second of a server without the cache, with the extractive default, before and after.

In one process: a question that is new, with the cache and without it, by turns; the same with the
search for questions in other words, which embeds the question.

The questions in other words are those of squad2-dev-a: two that people asked of one paragraph, with
one answer and a cosine of 0.8 or more, beside each unanswerable one, which somebody made from an
answerable one by changing what it means, with its nearest answerable question.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import psutil

from benchmarks._common import Report, SkippedError, Target, data_folder, p50
from benchmarks._server import examples, launched, serving
from benchmarks._texts import sentences
from benchmarks.rest import CLIENTS, load
from eval.datasets.corpus import Question, read_corpus
from rag.answer_cache.meaning import meaning_of
from rag.build.embedding import loading_embedder
from rag.build.running import start
from rag.pipeline.query import QueryPipeline
from rag.settings.tree import load_settings
from rag.telemetry.trace import Trace
from rag.types import DEFAULT_TENANT, Float32Array, Query, Scope

SECONDS = 4.0
ROUNDS = 2
NEW_QUESTIONS = 400
QUERY = "/v1/query"
CACHE = {"RAG_ANSWER_CACHE__KIND": "memory"}
ASKED = ("How long may a line be?",)
SET = "squad2-dev-a"
SIMILARITY = 0.8


def run() -> Report:
    """Hits and their floors by turns, then new questions by turns, then pairs of questions."""
    report = Report()
    texts = sentences()
    with examples() as env:
        _hits(report, env, texts)
        folder = Path(env["RAG_DATA_DIR"])
        asyncio.run(_misses(report, folder, texts, similarity=None))
        asyncio.run(_misses(report, folder, texts, similarity=SIMILARITY))
    try:
        questions = read_corpus(data_folder(SET)).questions
    except SkippedError as missing:
        report.notes.append(f"{SET} skipped: {missing}")
    else:
        asyncio.run(_pairs(report, questions))
    return report


def _hits(report: Report, env: Mapping[str, str], texts: Sequence[str]) -> None:
    hits: list[float] = []
    floor: list[float] = []
    cpu: list[float] = []
    crowds: list[dict[str, Any]] = []
    off: list[dict[str, Any]] = []
    for _ in range(ROUNDS):
        with serving(env) as url:
            load(url, clients=CLIENTS, seconds=1, questions=texts, path=QUERY)
            off.append(load(url, clients=CLIENTS, seconds=SECONDS, questions=texts, path=QUERY))
        with launched({**env, **CACHE}) as server:
            server.wait_until_ready()
            same = partial(load, server.url, questions=ASKED, path=QUERY, numbered=False)
            same(clients=1, seconds=1)
            for _ in range(ROUNDS):
                hits += same(clients=1, seconds=SECONDS)["latencies"]
                health = load(server.url, clients=1, seconds=SECONDS, questions=(), path="/healthz")
                floor += health["latencies"]
            before = _cpu_seconds(server.pid)
            crowds.append(same(clients=CLIENTS, seconds=SECONDS))
            spent = (_cpu_seconds(server.pid) - before) / len(crowds[-1]["latencies"])
            cpu.append(spent * 1e3)
    report.add("hit p50, 1 client", p50(hits), unit="ms", floor=p50(floor), target=Target(bound=2))
    report.add(
        f"hits, {CLIENTS} clients",
        fmean(each["per_second"] for each in crowds),
        unit="answers/s",
        floor=fmean(each["per_second"] for each in off),
        target=Target(bound=10, by="ratio", at_least=True),
    )
    report.add("CPU time of the server for a hit", fmean(cpu), unit="ms")
    errors = [error for each in (*crowds, *off) for error in each["errors"]]
    report.add("errors", len(errors), target=Target(bound=0))
    report.notes.append(
        f"the load generator took {crowds[-1]['client_cpu']:.0%} of a core for {CLIENTS} clients"
    )


def _cpu_seconds(pid: int) -> float:
    spent = psutil.Process(pid).cpu_times()
    return float(spent.user + spent.system)


async def _misses(
    report: Report, folder: Path, texts: Sequence[str], *, similarity: float | None
) -> None:
    cache = {"kind": "memory", "similarity": similarity}
    async with start(load_settings(data_dir=folder, answer_cache=cache)) as (service, _):
        without = copy.copy(service.query)
        without._repeater = None
        taken: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
        for number in range(2 * NEW_QUESTIONS):
            with_cache = number % 2 == 0
            text = f"{texts[number % len(texts)]} {similarity} {number}"
            pipeline = service.query if with_cache else without
            taken[with_cache].append(await _asked(pipeline, text))
    name = "a miss" if similarity is None else "a miss, with a search for other words"
    target = Target(bound=0.3, by="difference") if similarity is None else None
    (walls, cpus), (wall_floors, cpu_floors) = (
        zip(*taken[way], strict=True) for way in (True, False)
    )
    report.add(name, p50(walls), unit="ms", floor=p50(wall_floors))
    # The machine's other work moves the time by more than the cache does.
    report.add(f"{name}: CPU time", p50(cpus), unit="ms", floor=p50(cpu_floors), target=target)


async def _asked(pipeline: QueryPipeline, text: str) -> tuple[float, float]:
    """Milliseconds of a question, and of the CPU time of this process meanwhile."""
    query = Query(text=text, scope=Scope(tenant=DEFAULT_TENANT, collection="default"))
    started, cpu = time.perf_counter(), time.process_time()
    answer = await pipeline.answer(query, Trace())
    if answer.cached is not None:
        raise ValueError(f"{text!r} was asked before")
    return (time.perf_counter() - started) * 1e3, (time.process_time() - cpu) * 1e3


async def _pairs(report: Report, questions: Sequence[Question]) -> None:
    async with loading_embedder(load_settings().embedder) as embedder:
        texts = [question.text for question in questions]
        vectors = np.concatenate(
            [
                await embedder.embed(texts[n : n + 64], kind="query")
                for n in range(0, len(texts), 64)
            ]
        )
    same = list(_same_answer(questions, vectors))
    changed = list(_changed(questions, vectors))
    for name, pairs, target in (
        ("people's questions with one answer that hit", same, None),
        ("people's questions changed in meaning that hit", changed, Target(bound=0.005)),
    ):
        agreeing = [
            (one, other)
            for one, other in pairs
            if meaning_of(texts[one]).agrees(meaning_of(texts[other]))
        ]
        report.add(name, len(agreeing) / len(pairs), unit="share", target=target)
        report.notes.append(f"{name}: {len(agreeing)} of {len(pairs)}")
        report.notes += [f"  {texts[one]} | {texts[other]}" for one, other in agreeing[:20]]


def _same_answer(questions: Sequence[Question], vectors: Float32Array) -> Iterator[tuple[int, int]]:
    """Yields pairs of different questions about one paragraph with one answer, if they are near."""
    by_answer: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, question in enumerate(questions):
        if question.answerable:
            key = (str(question.meta["source_doc"]), question.answers[0].casefold())
            by_answer[key].append(place)
    for places in by_answer.values():
        for one, other in combinations(places, 2):
            if _near(questions, vectors, one, other):
                yield one, other


def _changed(questions: Sequence[Question], vectors: Float32Array) -> Iterator[tuple[int, int]]:
    """Yields each unanswerable question that is near an answerable one, with the nearest."""
    answerable = [place for place, question in enumerate(questions) if question.answerable]
    for place, question in enumerate(questions):
        if question.answerable:
            continue
        cosines = vectors[answerable] @ vectors[place]
        nearest = answerable[int(np.argmax(cosines))]
        if _near(questions, vectors, nearest, place):
            yield nearest, place


def _near(questions: Sequence[Question], vectors: Float32Array, one: int, other: int) -> bool:
    differs = questions[one].text.casefold() != questions[other].text.casefold()
    return differs and float(vectors[one] @ vectors[other]) >= SIMILARITY
