"""Has a language model write a short text that an answer needs first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict

from rag.errors import UpstreamError
from rag.protocols import ChatModel
from rag.telemetry.trace import Span, Trace, of_template
from rag.types import Message, Sampling, Usage

SECONDS = 5.0
"""Seconds for the text: it delays the answer's first word, and the answer can do without it."""


async def write(
    model: ChatModel,
    messages: Sequence[Message],
    trace: Trace,
    span: Span,
    *,
    template: str,
    max_tokens: int,
    seconds: float,
) -> str:
    """Returns the text that the model writes, complete and not blank.

    The trace is charged with the tokens in every case; the span records them too, with the
    messages, the `template` and the text.

    Raises:
        InputError: The model cannot take the messages.
        UpstreamError: It failed, took longer than `seconds`, or did not end within `max_tokens`.
    """
    text, complete = "", True
    spent: Usage | None = None
    span.input = [{"role": message.role, "content": message.content} for message in messages]
    span.attributes |= {"model": model.name, "max_tokens": max_tokens}
    span.attributes |= of_template(template)
    try:
        async with asyncio.timeout(seconds):
            async for piece in model.stream(messages, sampling=Sampling(max_tokens=max_tokens)):
                text += piece.text
                complete = complete and piece.finish_reason != "length"
                spent = piece.usage or spent
    except TimeoutError:
        raise UpstreamError(
            f"{model.name} was not done within {seconds:g} s.", code="deadline"
        ) from None
    finally:
        span.output = text
        if spent:
            trace.spend(spent)
            span.attributes |= asdict(spent)
    if not complete:
        raise UpstreamError(f"{model.name} was not done within {max_tokens} tokens.")
    if not text.strip():
        raise UpstreamError(f"{model.name} wrote nothing.")
    return text
