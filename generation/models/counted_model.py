"""Counts the tokens that a model has taken so far, for servers that report them only at the end."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from generation.models.wrapped import WrappedModel
from rag.types import Message, Piece, Sampling, Usage

BYTES_PER_TOKEN = 5
"""UTF-8 bytes of a token: common vocabularies have four to five in English prose."""


class CountedModel(WrappedModel):
    """`ChatModel` whose pieces have the usage so far, estimated if the model does not report it.

    A server sends a piece for each token, or several tokens in one piece: the estimate counts the
    pieces, or a token for each 5 bytes of the text, whichever is more, and the prompt as
    `count_tokens` does.
    """

    async def stream(
        self, messages: Sequence[Message], *, sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """Streams as the model does; each piece has a usage once there is text."""
        input_tokens = await self._model.count_tokens(messages)
        pieces = size = 0
        async with contextlib.aclosing(self._model.stream(messages, sampling=sampling)) as stream:
            async for piece in stream:
                pieces += bool(piece.text)
                size += len(piece.text.encode(errors="replace"))
                if piece.usage is None and pieces:
                    so_far = Usage(
                        input_tokens=input_tokens,
                        output_tokens=max(pieces, size // BYTES_PER_TOKEN),
                        estimated=True,
                    )
                    yield replace(piece, usage=so_far)
                else:
                    yield piece
