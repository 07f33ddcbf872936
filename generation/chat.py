"""Answers written by a language model, if the evidence suggests that there is an answer."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import fields, replace

from generation.grounding.answerability import Judge
from generation.prompts import PromptTemplate, fitting
from rag.errors import InputError, RagError, UpstreamError
from rag.protocols import ChatModel
from rag.types import Delta, ModelCall, Piece, Prompt, Sampling, SamplingOverrides

NOT_JSON = "not_json"
"""Code of the error for an answer that should be JSON and is not: its server has not failed."""


class ChatGenerator:
    """`Generator` over a `ChatModel`."""

    def __init__(
        self,
        *,
        judge: Judge,
        model: ChatModel,
        template: PromptTemplate,
        sampling: Sampling,
        adapters: Mapping[str, str] | None = None,
    ) -> None:
        """Make a generator.

        Args:
            judge: decides beforehand whether the passages answer the question.
            model: writes the answer.
            template: makes the model's instructions.
            sampling: sampling parameters; its `max_tokens` are kept free in the model's context.
            adapters: names of the model's LoRA adapters by the tenant whose answers they write.
        """
        self._judge = judge
        self._model = model
        self._template = template
        self._sampling = sampling
        self._adapters = adapters or {}

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        """1. judge the evidence  2. fit the passages  3. let the model write  4. the confidence.

        If a schema is given, deltas without text show that the model writes, and the JSON is sent
        in one piece, once it is complete. Each delta has the tokens so far.

        Raises:
            InputError: Not even the best passage fits the model's context, or `stop` or
                `max_tokens` left no text, or half of the JSON.
            BusyError, UpstreamError: The model raises them; or the answer should be JSON and is
                not.
        """
        verdict = await self._judge.judge(prompt)  # 1.
        if verdict.abstained:
            yield Delta(
                confidence=verdict.confidence,
                abstained=verdict.abstained,
                missing=verdict.missing,
            )
            return
        adapter = self._adapters.get(prompt.scope.tenant)
        sampling = replace(_overridden(self._sampling, prompt.sampling), adapter=adapter)
        messages, fit = await fitting(self._template, prompt, self._model, sampling)  # 2.
        name = f"{self._model.name}+{adapter}" if adapter else self._model.name
        last, written = Piece(), ""
        async with contextlib.aclosing(self._model.stream(messages, sampling=sampling)) as pieces:
            async for last in pieces:  # 3.
                if sampling.schema is None:
                    if last.text:
                        yield Delta(
                            text=last.text, model=name, usage=last.usage, degraded=last.degraded
                        )
                elif last.text and (last.usage or not written):
                    yield Delta(model=name, usage=last.usage, degraded=last.degraded)
                written += last.text
        try:
            self._check(written, last, sampling)
        except RagError:
            yield Delta(model=name, usage=last.usage)  # its tokens cost money all the same
            raise
        if sampling.schema is not None:
            yield Delta(text=written, model=name)
        yield Delta(  # 4.
            model=name,
            confidence=verdict.confidence,
            finish_reason=last.finish_reason,
            usage=last.usage,
            degraded=self._left_out(len(prompt.hits) - fit, len(prompt.hits)),
            call=ModelCall(messages=messages, template=self._template.name, sampling=sampling),
        )

    def _check(self, text: str, last: Piece, sampling: Sampling) -> None:
        if not text:
            if sampling.stop:
                raise self._stopped()
            raise UpstreamError(
                f"The model {self._model.name} wrote nothing. Try again.", code="no_answer"
            )
        if sampling.schema is not None:
            self._check_json(text, last, sampling)

    def _check_json(self, text: str, last: Piece, sampling: Sampling) -> None:
        try:
            json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            if last.finish_reason == "length":
                raise InputError(
                    f"The JSON did not end within {sampling.max_tokens:,} tokens. Ask for less, or"
                    " allow more: max_tokens, at most the setting generator.max_tokens.",
                    code="json_too_long",
                ) from error
            if sampling.stop:
                raise self._stopped() from error
            raise UpstreamError(
                f"The model {self._model.name} wrote what is no JSON. Try again, or use a server"
                " that follows a response_format.",
                code=NOT_JSON,
            ) from error

    def _stopped(self) -> InputError:
        return InputError(
            f"The model {self._model.name} came to one of the texts of `stop` before it had written"
            " an answer. Ask without them.",
            code="stopped",
        )

    def _left_out(self, dropped: int, found: int) -> tuple[str, ...]:
        if not dropped:
            return ()
        return (
            f"passages: {dropped} of {found} did not fit the {self._model.context_tokens:,} tokens"
            f" of {self._model.name}",
        )


def _refuse(constant: str) -> None:
    """Refuses `NaN` and `Infinity`, which Python reads and JSON does not have."""
    raise ValueError(f"{constant} is no JSON")


def _overridden(sampling: Sampling, wanted: SamplingOverrides) -> Sampling:
    """Overrides sampling by the wanted values; `max_tokens` never exceed the settings'."""
    names = (field.name for field in fields(wanted))
    given = {name: value for name in names if (value := getattr(wanted, name)) is not None}
    if wanted.max_tokens is not None:
        given["max_tokens"] = min(wanted.max_tokens, sampling.max_tokens)
    return replace(sampling, **given)
