"""Scores the answers of a run as live answers are scored."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial

from eval.datasets.corpus import Question
from eval.online.scorer import OnlineScorer, open_scorer
from rag.build.service import Service
from rag.types import Answer

Scorer = Callable[[Question, Answer], Awaitable[Mapping[str, float]]]
"""Returns further scores of an answer, by name."""


@contextlib.asynccontextmanager
async def scoring(service: Service, *, wanted: bool) -> AsyncIterator[Scorer | None]:
    """Opens a scorer until the end of the block; None if it is not wanted."""
    if not wanted:
        yield None
        return
    opening = open_scorer(
        service, model=service.model, support=service.support, tokens=service.tokens
    )
    async with opening as scorer:
        yield partial(_score, scorer)


async def _score(scorer: OnlineScorer, question: Question, answer: Answer) -> Mapping[str, float]:
    chunks = [hit.chunk for hit in answer.passages]
    found = await scorer.measure(
        question.text,
        answer.text,
        chunks,
        is_json=False,
        unsupported=len(answer.unsupported),
        uncited=len(answer.uncited),
    )
    verdict = await scorer.judge(question.text, answer.text, chunks)
    was_judged = verdict.failed or verdict.scores
    failed = {"judge_failed": float(verdict.failed)} if was_judged else {}
    return {**found, **verdict.scores, **failed}
