"""The base of models that change the stream of another."""

from __future__ import annotations

from collections.abc import Sequence

from rag.protocols import ChatModel
from rag.types import Message


class WrappedModel:
    """Name, context length and token counts of another model; subclasses have a `stream`."""

    def __init__(self, model: ChatModel) -> None:
        self._model = model

    @property
    def wrapped(self) -> ChatModel:
        """The other model."""
        return self._model

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model.name

    @property
    def context_tokens(self) -> int:
        """The model's context length in tokens."""
        return self._model.context_tokens

    async def count_tokens(self, messages: Sequence[Message]) -> int:
        """Counts as the model does."""
        return await self._model.count_tokens(messages)


def innermost(model: ChatModel) -> ChatModel:
    """Returns the model whose stream the others change."""
    while isinstance(model, WrappedModel):
        model = model.wrapped
    return model
