"""A model over several servers, and the requests that tests send to it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from typing import Any

from generation.models.counted_model import CountedModel
from generation.models.openai import OpenAIModel
from generation.replicas.checks import Checks
from generation.replicas.model import Affinity, ReplicatedModel
from generation.replicas.pool import Pool
from rag.types import Message, Piece, Sampling
from tests.model_server import PATIENCE, ModelServer, Script, model_server


class Clock:
    """A clock that tests set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@contextlib.contextmanager
def engines(*scripts: Script) -> Iterator[list[ModelServer]]:
    """Serves each script on a port of its own."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(model_server(script)) for script in scripts]


@contextlib.asynccontextmanager
async def replicated(
    urls: Sequence[str],
    *,
    affinity: Affinity = "prefix",
    hedge: bool = False,
    first_token_seconds: float = PATIENCE,
    api_key: str | None = None,
    checked: bool = True,
    model: str = "tiny",
    **pool: Any,
) -> AsyncIterator[tuple[ReplicatedModel, Pool]]:
    """Opens a model over servers, and its pool; without `checked` nobody looks after them."""
    async with contextlib.AsyncExitStack() as stack:
        models = []
        for url in urls:
            openai = OpenAIModel(
                base_url=url, api_key=api_key, model=model, context_tokens=4000, seconds=PATIENCE
            )
            stack.push_async_callback(openai.close)
            models.append(CountedModel(openai))
        replicas = Pool(urls, **pool)
        if checked:
            checks = Checks(urls, replicas, model=model, api_key=api_key)
            await stack.enter_async_context(checks.running())
        made = ReplicatedModel(
            models,
            replicas,
            affinity=affinity,
            hedge=hedge,
            first_token_seconds=first_token_seconds,
        )
        yield made, replicas


def chat(topic: str = "a") -> tuple[Message, ...]:
    """Returns a prompt whose replica the topic decides."""
    return (
        Message(role="system", content="Be brief."),
        Message(role="user", content=f"{topic} " * 200),
    )


async def ask(model: ReplicatedModel, topic: str = "a", *, max_tokens: int = 9) -> list[Piece]:
    """Returns the pieces of an answer."""
    sampling = Sampling(max_tokens=max_tokens)
    async with aclosing(model.stream(chat(topic), sampling=sampling)) as pieces:
        return [piece async for piece in pieces]


def text(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def degraded(pieces: Sequence[Piece]) -> tuple[str, ...]:
    return tuple(told for piece in pieces for told in piece.degraded)
