"""The tokens that a request reserves before any work is done for it."""

from __future__ import annotations

from fastapi import Request

from rag.api.deps import meter_of
from rag.build.service import Service
from rag.settings.tree import Settings
from rag.types import Message, Query

INSTRUCTION_TOKENS = 512
"""Tokens of the instructions around a question and its passages, and of the marks between them."""


async def reserve(request: Request, query: Query, service: Service) -> None:
    """Reserves the tokens of a question and its longest answer; none without a language model.

    The question and the conversation are counted as the model does. The passages are not found yet:
    the most that `top_k` chunks have is counted for them. The sum is corrected once the question
    has ended.

    Raises:
        RateLimitedError, QuotaExceededError: The caller has no more.
        UpstreamError: The limits cannot be read, and tokens are refused meanwhile.
    """
    meter = meter_of(request)
    if not meter.charges:
        return
    await meter.reserve(await _most_tokens(query, service))


async def _most_tokens(query: Query, service: Service) -> int:
    model = service.model
    if model is None:
        return 0
    if query.task is not None:
        prompt = await model.count_tokens(query.task.messages)
    else:
        question = Message(role="user", content=query.text)
        prompt = await model.count_tokens([*query.history, question])
        prompt += INSTRUCTION_TOKENS + query.top_k * service.settings.chunker.max_tokens
    answer = longest_answer(service.settings)
    if query.sampling.max_tokens is not None:
        answer = min(answer, query.sampling.max_tokens)
    return min(prompt + answer, model.context_tokens)


def longest_answer(settings: Settings) -> int:
    """Returns the most tokens of an answer, of any of the generators."""
    chain = (settings.generator, *settings.fallbacks)
    return max(getattr(generator, "max_tokens", 0) for generator in chain)
