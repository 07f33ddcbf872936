"""A language model that takes so many tokens at once and no more."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence

from rag.process.admission import Admission
from rag.protocols import ChatModel
from rag.types import Message, Piece, Sampling


class BudgetedModel:
    """`ChatModel` that refuses what is over the budget, before the model is asked."""

    def __init__(self, model: ChatModel, *, tokens: int) -> None:
        """Make a model; `tokens` are those of prompts and, at most, answers under way."""
        self._model = model
        self._budget = Admission(
            tokens,
            refusal=f"{model.name} has as many tokens under way as it may"
            f" (generator.tokens_at_once, {tokens:,}). Try again in a moment.",
        )

    @property
    def name(self) -> str:
        """The model's."""
        return self._model.name

    @property
    def context_tokens(self) -> int:
        """The model's."""
        return self._model.context_tokens

    async def count_tokens(self, messages: Sequence[Message]) -> int:
        """As the model does."""
        return await self._model.count_tokens(messages)

    async def stream(
        self, messages: Sequence[Message], *, sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """As the model does.

        Raises:
            BusyError: prompt and answer would be over the budget.
            RagError: what the model raises.
        """
        tokens = await self._model.count_tokens(messages) + sampling.max_tokens
        with self._budget.take(tokens):
            async with contextlib.aclosing(
                self._model.stream(messages, sampling=sampling)
            ) as pieces:
                async for piece in pieces:
                    yield piece
