"""Computes the cost of a language model's answers, and charges it to their request."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace

from generation.models.wrapped import WrappedModel
from rag.protocols import ChatModel
from rag.telemetry.metering import MILLION
from rag.telemetry.trace import current_meter
from rag.types import Message, Piece, Sampling, Usage

HOUR_SECONDS = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Prices of a million tokens, and of an hour of the GPUs that write `tokens_per_second`."""

    input: float = 0.0
    output: float = 0.0
    cached: float | None = None
    """Price of input tokens that the server had in a cache; None: as others."""
    gpu_hour: float = 0.0
    tokens_per_second: float | None = None

    def priced(self, usage: Usage) -> Usage:
        """Returns the usage with its cost and the time on the GPU.

        The time is that of the tokens written, at the measured throughput, which includes the
        reading of their prompts.
        """
        cached = usage.cached_tokens
        cached_price = self.input if self.cached is None else self.cached
        seconds = usage.output_tokens / self.tokens_per_second if self.tokens_per_second else 0.0
        tokens = (
            (usage.input_tokens - cached) * self.input
            + cached * cached_price
            + usage.output_tokens * self.output
        )
        cost = tokens / MILLION + seconds * self.gpu_hour / HOUR_SECONDS
        return replace(usage, cost=cost, gpu_seconds=seconds)


class PricedModel(WrappedModel):
    """`ChatModel` that reports its cost, and charges the request that it works for."""

    def __init__(self, model: ChatModel, prices: Prices) -> None:
        super().__init__(model)
        self._prices = prices

    async def stream(
        self, messages: Sequence[Message], *, sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """Streams as the model does; a usage includes the cost."""
        meter, usage = current_meter(), None
        pieces = self._model.stream(messages, sampling=sampling)
        try:
            async with contextlib.aclosing(pieces):
                async for piece in pieces:
                    if piece.usage is not None:
                        usage = self._prices.priced(piece.usage)
                    yield piece if piece.usage is None else replace(piece, usage=usage)
        finally:  # also if it fails, or nobody waits for the rest
            if meter is not None and usage is not None:
                meter.spend(sampling.adapter or self.name, usage)
