"""Limits the tokens that a language model processes at once."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence

from generation.models.wrapped import WrappedModel
from rag.process.admission import Admission
from rag.protocols import ChatModel
from rag.types import Message, Piece, Sampling


class BudgetedModel(WrappedModel):
    """`ChatModel` that refuses requests over the budget, before the model is asked."""

    def __init__(self, model: ChatModel, *, tokens: int) -> None:
        """Make a model; `tokens` are those of prompts and, at most, answers in progress."""
        super().__init__(model)
        self._budget = Admission(
            tokens,
            refusal=f"{model.name} has as many tokens under way as it may"
            f" (generator.tokens_at_once, {tokens:,}). Try again in a moment.",
        )

    async def stream(
        self, messages: Sequence[Message], *, sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """Streams as the model does.

        Raises:
            BusyError: Prompt and answer would exceed the budget.
            RagError: The model raised it.
        """
        tokens = await self._model.count_tokens(messages) + sampling.max_tokens
        with self._budget.take(tokens):
            async with contextlib.aclosing(
                self._model.stream(messages, sampling=sampling)
            ) as pieces:
                async for piece in pieces:
                    yield piece
