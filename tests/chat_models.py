"""The contract of `ChatModel`."""

from __future__ import annotations

from contextlib import aclosing

from rag.protocols import ChatModel
from rag.types import Message, Piece, Sampling

CHAT = [
    Message(role="system", content="You answer from the passages."),
    Message(role="user", content="What is the question?"),
]


async def check_chat_model(model: ChatModel) -> None:
    """Asks a model for a long answer twice, and hangs up in the middle of the second."""
    assert model.name
    assert model.context_tokens > 0
    counted = await model.count_tokens(CHAT)
    assert 0 < await model.count_tokens(CHAT[1:]) < counted
    pieces = await _read(model)
    assert "".join(piece.text for piece in pieces).strip()
    assert [piece.finish_reason for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    last = pieces[-1]
    assert last.finish_reason in ("stop", "length")
    assert last.usage is not None
    assert last.usage.input_tokens > 0
    assert last.usage.output_tokens > 0
    async with aclosing(model.stream(CHAT, sampling=Sampling(max_tokens=32))) as hung_up:
        await anext(hung_up)
    assert (await _read(model))[-1].finish_reason == last.finish_reason


async def _read(model: ChatModel) -> list[Piece]:
    return [piece async for piece in model.stream(CHAT, sampling=Sampling(max_tokens=32))]
