"""A language model in a vLLM engine, which starts with the service and ends with it."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from generation.models.vllm_engine import render, render_text
from generation.models.vllm_supervisor import EngineSupervisor
from rag.errors import ConfigError, InputError, UpstreamError
from rag.types import FinishReason, Message, Piece, Sampling, Usage

# isort: split
# `vllm_engine` sets the environment in which vLLM is loaded.
from vllm import SamplingParams
from vllm.lora.request import LoRARequest
from vllm.outputs import RequestOutput
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

COUNTED = 1 << 19
"""Tokens, in all, of prompts that were counted and are cached: they are then rendered once, not
twice."""
MOST_IN_BATCH = 8
"""Adapters whose requests are computed together, at most: each takes memory. More take turns."""
_FINISHED: Mapping[str, FinishReason] = {"stop": "stop", "length": "length"}


class VllmModel:
    """`ChatModel` over a vLLM engine, which is started again whenever it dies."""

    def __init__(
        self,
        model: str,
        *,
        lora: Path | None,
        adapters: Mapping[str, Path],
        engine: Mapping[str, Any],
    ) -> None:
        """Make a model whose engine is not started; see `opened`."""
        self._model = model
        named = {**adapters, **({lora.name: lora} if lora else {})}
        self._adapters = {
            name: LoRARequest(name, number, str(folder))
            for number, (name, folder) in enumerate(named.items(), 1)
        }
        self._lora = lora.name if lora else None
        self._counted: dict[tuple[Message, ...], dict[str, Any]] = {}
        self._supervisor = EngineSupervisor(
            model,
            name=self.name,
            adapters=tuple(self._adapters.values()),
            arguments={**_for_adapters(len(named), engine), **engine},
            started=self._counted.clear,  # the folder may hold another tokenizer by now
        )

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(
        cls,
        model: str,
        *,
        lora: Path | None = None,
        adapters: Mapping[str, Path] | None = None,
        engine: Mapping[str, Any],
    ) -> AsyncIterator[VllmModel]:
        """Opens a model that has generated once. At the end its last requests are completed.

        Args:
            model: a folder, or a name on the hub.
            lora: the folder of an adapter for requests that name none.
            adapters: folders of adapters for requests that name them, by their names.
            engine: further arguments of vLLM's AsyncEngineArgs; see
                `vllm_engine.DEFAULTS`.

        Raises:
            ConfigError: The model or an argument is not valid.
        """
        if lora:
            _check_adapter("generator.lora", lora)
        for folder in (adapters or {}).values():
            _check_adapter("generator.adapters", folder)
        made = cls(model, lora=lora, adapters=adapters or {}, engine=engine)
        async with made._supervisor.running():
            yield made

    @property
    def name(self) -> str:
        """The folder's name, or the name on the hub."""
        return Path(self._model).name if Path(self._model).is_dir() else self._model

    @property
    def context_tokens(self) -> int:
        """Tokens that prompt and answer may have together."""
        return self._supervisor.context

    async def count_tokens(self, messages: Sequence[Message]) -> int:
        """Counts the tokens of a prompt, including the chat template's own.

        Raises:
            UpstreamError: The engine died and is not up again.
        """
        engine, key = self._supervisor.living(), tuple(messages)
        if (prompt := self._counted.get(key)) is None:
            with self._supervisor.translated(engine):
                prompt = await render(engine, messages)
            fits = len(prompt["prompt_token_ids"]) < self.context_tokens
            if fits and engine is self._supervisor.engine:
                self._keep_counted(key, prompt)
        return len(prompt["prompt_token_ids"])

    def _keep_counted(self, key: tuple[Message, ...], prompt: dict[str, Any]) -> None:
        self._counted[key] = prompt
        while sum(len(kept["prompt_token_ids"]) for kept in self._counted.values()) > COUNTED:
            del self._counted[next(iter(self._counted))]  # the oldest

    async def stream(
        self, messages: Sequence[Message], *, sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """Yields the text piece by piece; closing the stream ends the request in the engine.

        Raises:
            InputError: The prompt fills the context, or the schema cannot be followed.
            BusyError: There are `max_num_queued_reqs` unfinished requests.
            UpstreamError: The engine died, or is not up again.
        """
        engine = self._supervisor.living()
        with self._supervisor.translated(engine):
            counted = self._counted.pop(tuple(messages), None)
            prompt = counted or await render(engine, messages)
            params = self._params(sampling, prompt_tokens=len(prompt["prompt_token_ids"]))
            adapter = self._adapter(sampling.adapter)
            outputs = engine.generate(prompt, params, uuid.uuid4().hex, lora_request=adapter)
            written = 0
            async with contextlib.aclosing(outputs):
                while (output := await self._supervisor.next_of(outputs)) is not None:
                    written += len(output.outputs[0].token_ids)
                    if piece := self._piece(output, written, sampling):
                        yield piece

    def _adapter(self, name: str | None) -> LoRARequest | None:
        """Returns the adapter of this name; without a name, the one for all answers, if any."""
        name = name or self._lora
        return self._adapters[name] if name else None

    async def token_losses(self, text: str) -> list[float]:
        """Returns the negative log-likelihoods, in nats, of a text's tokens given those before.

        The first token is left out, and what is beyond the context.

        Raises:
            UpstreamError: The engine died, or is not up again.
        """
        engine = self._supervisor.living()
        with self._supervisor.translated(engine):
            prompt = await render_text(engine, text, most=self.context_tokens - 1)
            params = SamplingParams(max_tokens=1, prompt_logprobs=0)
            adapter = self._adapter(None)
            outputs = engine.generate(prompt, params, uuid.uuid4().hex, lora_request=adapter)
            found: Sequence[Any] = ()
            async with contextlib.aclosing(outputs):
                while (output := await self._supervisor.next_of(outputs)) is not None:
                    found = output.prompt_logprobs or found
        tokens = prompt["prompt_token_ids"][1:]
        return [-given[token].logprob for token, given in zip(tokens, found[1:], strict=True)]

    def _params(self, sampling: Sampling, *, prompt_tokens: int) -> SamplingParams:
        room = self.context_tokens - prompt_tokens
        if room < 1:
            raise InputError(
                f"The prompt has {prompt_tokens} tokens, and {self.name} takes"
                f" {self.context_tokens} with the answer: ask a shorter question, or for fewer"
                " passages (top_k)."
            )
        schema = sampling.schema
        return SamplingParams(
            max_tokens=min(sampling.max_tokens, room),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=sampling.seed,
            stop=list(sampling.stop),
            structured_outputs=None
            if schema is None
            else StructuredOutputsParams(json=dict(schema)),
            output_kind=RequestOutputKind.DELTA,
        )

    def _piece(self, output: RequestOutput, written: int, sampling: Sampling) -> Piece | None:
        """Returns the piece to send; None if the text waits for the rest of a character."""
        (new,) = output.outputs
        usage = Usage(
            input_tokens=len(output.prompt_token_ids),
            output_tokens=written,
            cached_tokens=output.num_cached_tokens or 0,
        )
        if not output.finished:
            return Piece(text=new.text, usage=usage) if new.text else None
        if new.finish_reason == "error" and sampling.schema is not None:
            raise InputError(f"{self.name} cannot follow the schema: the log says why.")
        if new.finish_reason not in _FINISHED:
            raise UpstreamError(f"{self.name} gave up half-way ({new.finish_reason}). Try again.")
        return Piece(text=new.text, finish_reason=_FINISHED[new.finish_reason], usage=usage)


def _for_adapters(count: int, engine: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments of an engine that has this many adapters.

    On a CPU, vLLM 0.32 writes with the adapter in the last slot for requests without one, if they
    are computed together with others (https://github.com/vllm-project/vllm/pull/48421). Slots are
    filled from the first: one more than there are adapters stays empty, and changes nothing.

    Raises:
        ConfigError: The arguments leave no such slot.
    """
    if not count:
        return {}
    if not current_platform.is_cpu():
        return {"enable_lora": True, "max_loras": min(count, MOST_IN_BATCH)}
    if engine.get("max_loras", count + 1) <= count:
        raise ConfigError(
            f"generator.engine.max_loras = {engine['max_loras']} is too low on a CPU: it must be"
            f" above the number of adapters, {count}, or tenants without one get another's. Leave"
            " it out."
        )
    return {"enable_lora": True, "max_loras": count + 1}


def _check_adapter(setting: str, folder: Path) -> None:
    if not (folder / "adapter_config.json").is_file():
        raise ConfigError(f"{setting} = '{folder}' holds no adapter_config.json.")
