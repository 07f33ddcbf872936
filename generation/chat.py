"""Answers that a language model writes, where the evidence says that there is one to write."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

from generation.judging import Judge
from generation.prompts import PromptTemplate, fitting
from rag.errors import UpstreamError
from rag.protocols import ChatModel
from rag.types import Delta, Piece, Prompt, Sampling


class ChatGenerator:
    """`Generator` over a `ChatModel`."""

    def __init__(
        self, *, judge: Judge, model: ChatModel, template: PromptTemplate, sampling: Sampling
    ) -> None:
        """Make a generator.

        Args:
            judge: says beforehand how likely the passages answer the question.
            model: writes.
            template: tells it what to write.
            sampling: how; its `max_tokens` are kept free in the model's context.
        """
        self._judge = judge
        self._model = model
        self._template = template
        self._sampling = sampling

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        """1. judge the evidence  2. fit the passages  3. let the model write  4. the confidence.

        Raises:
            InputError: not even the best passage fits the model's context.
            BusyError, UpstreamError: as the model.
        """
        verdict = await self._judge.judge(prompt)  # 1.
        if verdict.abstained:
            yield Delta(confidence=verdict.confidence, abstained=verdict.abstained)
            return
        messages, fit = await fitting(  # 2.
            self._template,
            prompt.question,
            prompt.hits,
            model=self._model,
            reserved=self._sampling.max_tokens,
        )
        name, last, silent = self._model.name, Piece(), True
        async with contextlib.aclosing(
            self._model.stream(messages, sampling=self._sampling)
        ) as pieces:
            async for last in pieces:  # 3.
                if last.text:
                    silent = False
                    yield Delta(text=last.text, model=name)
        if silent:
            raise UpstreamError(f"The model {name} wrote nothing. Try again.", code="no_answer")
        yield Delta(  # 4.
            model=name,
            confidence=verdict.confidence,
            finish_reason=last.finish_reason,
            usage=last.usage,
            degraded=self._left_out(len(prompt.hits) - fit, len(prompt.hits)),
        )

    def _left_out(self, dropped: int, found: int) -> tuple[str, ...]:
        if not dropped:
            return ()
        return (
            f"passages: {dropped} of {found} did not fit the {self._model.context_tokens:,} tokens"
            f" of {self._model.name}",
        )
