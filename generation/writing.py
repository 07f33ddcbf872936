"""A short text by a language model, on the way to an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rag.errors import UpstreamError
from rag.protocols import ChatModel
from rag.telemetry import Trace
from rag.types import Message, Sampling

SECONDS = 5.0
"""It delays the first word of the answer, and the answer can do without it."""


async def write(
    model: ChatModel, messages: Sequence[Message], trace: Trace, *, max_tokens: int, seconds: float
) -> str:
    """What the model writes, complete and not blank; the trace is charged with the tokens.

    Raises:
        InputError: the model cannot take the messages.
        UpstreamError: it failed, took longer than `seconds`, or did not end within `max_tokens`.
    """
    text, complete = "", True
    try:
        async with asyncio.timeout(seconds):
            async for piece in model.stream(messages, sampling=Sampling(max_tokens=max_tokens)):
                text += piece.text
                complete = complete and piece.finish_reason != "length"
                if piece.usage:
                    trace.spend(piece.usage)
    except TimeoutError:
        raise UpstreamError(
            f"{model.name} was not done within {seconds:g} s.", code="deadline"
        ) from None
    if not complete:
        raise UpstreamError(f"{model.name} was not done within {max_tokens} tokens.")
    if not text.strip():
        raise UpstreamError(f"{model.name} wrote nothing.")
    return text
