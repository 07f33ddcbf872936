"""Computes the cost of a language model's answers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from generation.models.wrapped import WrappedModel
from rag.protocols import ChatModel
from rag.types import Message, Piece, Sampling

MILLION = 1e6


class PricedModel(WrappedModel):
    """`ChatModel` that reports its cost."""

    def __init__(
        self,
        model: ChatModel,
        *,
        input_price: float,
        output_price: float,
    ) -> None:
        """Make a model; prices are for a million tokens."""
        super().__init__(model)
        self._input_price = input_price
        self._output_price = output_price

    async def stream(
        self, messages: Sequence[Message], *, sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """Streams as the model does; a usage includes the cost."""
        pieces = self._model.stream(messages, sampling=sampling)
        async with contextlib.aclosing(pieces):
            async for piece in pieces:
                yield self._priced(piece)

    def _priced(self, piece: Piece) -> Piece:
        if piece.usage is None:
            return piece
        cost = (
            piece.usage.input_tokens * self._input_price
            + piece.usage.output_tokens * self._output_price
        ) / MILLION
        return replace(piece, usage=replace(piece.usage, cost=cost))
