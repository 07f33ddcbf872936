"""Has a language model write a short text that an answer needs first."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from rag.errors import InputError, UpstreamError
from rag.protocols import ChatModel
from rag.telemetry.trace import Span, Trace, of_template
from rag.types import Message, Sampling, Usage

SECONDS = 5.0
"""Seconds for the text: it delays the answer's first word, and the answer can do without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """The text that a model wrote, the tokens it took, and the error that makes it useless."""

    text: str
    usage: Usage
    error: InputError | UpstreamError | None = None


async def write(
    model: ChatModel,
    messages: Sequence[Message],
    trace: Trace,
    span: Span,
    *,
    template: str,
    max_tokens: int,
    seconds: float,
    schema: Mapping[str, object] | None = None,
) -> Completion:
    """Returns the text that the model writes; with a `schema`, JSON that fits it.

    Without an `error` it is complete and not blank. With an InputError the model cannot take the
    messages; with an UpstreamError it failed, took longer than `seconds`, or did not end within
    `max_tokens`. Trace and span observe the tokens also if the call is cancelled; the span observes
    the messages, the `template` and the text, too.
    """
    text, complete = "", True
    usage: Usage | None = None
    error: InputError | UpstreamError | None = None
    sampling = Sampling(max_tokens=max_tokens, schema=schema)
    span.input = [{"role": message.role, "content": message.content} for message in messages]
    span.attributes |= {"model": model.name, "max_tokens": max_tokens}
    span.attributes |= of_template(template)
    try:
        async with asyncio.timeout(seconds):
            async for piece in model.stream(messages, sampling=sampling):
                text += piece.text
                complete = complete and piece.finish_reason != "length"
                usage = piece.usage or usage
    except TimeoutError:
        error = UpstreamError(f"{model.name} was not done within {seconds:g} s.", code="deadline")
    except (InputError, UpstreamError) as failure:
        error = failure
    finally:
        span.output = text
        if usage:
            trace.spend(usage)
            span.attributes |= asdict(usage)
    if error is None and not complete:
        error = UpstreamError(f"{model.name} was not done within {max_tokens} tokens.")
    if error is None and not text.strip():
        error = UpstreamError(f"{model.name} wrote nothing.")
    return Completion(text=text, usage=usage or Usage(), error=error)
