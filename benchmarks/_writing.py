"""Requests to a language model: so many at a time, and when their tokens came."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from benchmarks._texts import questions, words
from generation.prompts import PromptTemplate
from rag.types import Message, Sampling

if TYPE_CHECKING:
    from generation.models.vllm import VllmModel

T = TypeVar("T")
PASSAGE_WORDS = 400
RULES = PromptTemplate().messages("", ())[0].content
"""The beginning of every prompt."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the output: its new `tokens`, and the seconds before it spent on other work."""

    tokens: int = 0
    elsewhere: float = 0.0


Write = Callable[[T], AsyncIterator[Part]]
"""Yields the parts of the output for a prompt."""


@dataclass(slots=True)
class Turn:
    """Measurements of one side's requests: times in seconds, one value for each request."""

    concurrency: int
    seconds: float = 0.0
    tokens: int = 0
    begun: list[float] = field(default_factory=list)
    """Times at which requests were sent, since the turn began."""
    first: list[float] = field(default_factory=list)
    """Times to the first token."""
    between: list[float] = field(default_factory=list)
    """Mean times between two later tokens."""
    whole: list[float] = field(default_factory=list)
    elsewhere: list[float] = field(default_factory=list)
    """Times that did not go into writing."""

    @property
    def speed(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds

    @property
    def net_speed(self) -> float:
        """Tokens a second of writing, had nothing else been done."""
        return self.tokens * self.concurrency / (sum(self.whole) - sum(self.elsewhere))

    @property
    def net_first(self) -> list[float]:
        """Seconds of writing to the first token."""
        return [all_ - other for all_, other in zip(self.first, self.elsewhere, strict=True)]

    @property
    def net_begun(self) -> list[float]:
        """Seconds since the turn began to when each had nothing but its writing left."""
        return [begun + other for begun, other in zip(self.begun, self.elsewhere, strict=True)]


async def take_turn(write: Write[T], prompts: Sequence[T], *, concurrency: int) -> Turn:
    """Sends all prompts, `concurrency` at a time, and returns the measurements."""
    waiting = list(prompts)
    turn = Turn(concurrency)
    start = time.perf_counter()

    async def client() -> None:
        while waiting:
            await _one(turn, write, waiting.pop(), start)

    await asyncio.gather(*(client() for _ in range(concurrency)))
    turn.seconds = time.perf_counter() - start
    return turn


async def follow_turn(write: Write[T], prompts: Sequence[T], *, turn: Turn) -> Turn:
    """Sends each prompt when a request of another turn had only its writing left."""
    followed = Turn(turn.concurrency)
    start = time.perf_counter()

    async def client(prompt: T, moment: float) -> None:
        await asyncio.sleep(start + moment - time.perf_counter())
        await _one(followed, write, prompt, start)

    await asyncio.gather(*map(client, prompts, turn.net_begun))
    followed.seconds = time.perf_counter() - start
    return followed


async def _one(turn: Turn, write: Write[T], prompt: T, start: float) -> None:
    started = time.perf_counter()
    first, tokens, elsewhere = 0.0, 0, 0.0
    async for part in write(prompt):
        first = first or time.perf_counter()
        tokens += part.tokens
        elsewhere += part.elsewhere
    ended = time.perf_counter()
    turn.tokens += tokens
    turn.begun.append(started - start)
    turn.first.append(first - started)
    turn.between.append((ended - first) / max(1, tokens - 1))
    turn.whole.append(ended - started)
    turn.elsewhere.append(elsewhere)


def through_us(model: VllmModel, *, tokens: int) -> Write[Sequence[Message]]:
    """Chats through `VllmModel`."""

    async def write(prompt: Sequence[Message]) -> AsyncIterator[Part]:
        async for piece in model.stream(prompt, sampling=Sampling(max_tokens=tokens)):
            ended = piece.finish_reason and piece.usage
            yield Part(ended.output_tokens if ended else 0)

    return write


def straight(model: VllmModel, *, tokens: int) -> Write[Sequence[Message]]:
    """The floor: token ids of chats, by the tokenizer itself, to the same `AsyncLLM`."""
    from vllm import SamplingParams
    from vllm.inputs import tokens_input
    from vllm.sampling_params import RequestOutputKind

    engine = model._supervisor.engine
    assert engine is not None
    tokenizer = engine.get_tokenizer()
    params = SamplingParams(max_tokens=tokens, temperature=0, output_kind=RequestOutputKind.DELTA)

    async def write(prompt: Sequence[Message]) -> AsyncIterator[Part]:
        ids = token_ids(tokenizer, prompt)
        async for output in engine.generate(tokens_input(ids), params, uuid.uuid4().hex):
            yield Part(len(output.outputs[0].token_ids))

    return write


def token_ids(tokenizer: Any, prompt: Sequence[Message]) -> list[int]:
    """A chat as the model reads it."""
    chat = [{"role": message.role, "content": message.content} for message in prompt]
    ids: list[int] = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_dict=False
    )
    return ids


def prompts() -> Iterator[list[Message]]:
    """Prompts without end, each with other passages and a number at its start."""
    text = words()
    asked_questions = questions(100)
    for number in itertools.count():
        start = number * PASSAGE_WORDS % (len(text) - PASSAGE_WORDS)
        passages = " ".join(text[start : start + PASSAGE_WORDS])
        yield make_prompt(
            f"{number}. {RULES}", passages, asked_questions[number % len(asked_questions)]
        )


def make_prompt(system: str, passages: str, question: str) -> list[Message]:
    """A chat with a model that is to answer."""
    user = f"{passages}\n\nQuestion: {question}"
    return [Message(role="system", content=system), Message(role="user", content=user)]
