"""vLLM: its engine's processes start with the service and end with it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import multiprocessing
import os
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from difflib import get_close_matches
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from generation.models.checkpoints import check_checkpoint
from rag.errors import BusyError, ConfigError, InputError, RagError, UpstreamError
from rag.privacy.redaction import words
from rag.text.validation_errors import FIRST
from rag.types import FinishReason, Message, Piece, Sampling, Usage

# Read as vLLM is loaded, and by the processes it starts.
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")

from vllm import AsyncEngineArgs, SamplingParams
from vllm.config import ModelConfig
from vllm.exceptions import (
    GracefulHTTPError,
    VLLMClientError,
    VLLMServerError,
)
from vllm.lora.request import LoRARequest
from vllm.outputs import RequestOutput
from vllm.platforms import current_platform
from vllm.renderers.chat_utils import ChatTemplateResolutionError
from vllm.renderers.params import ChatParams
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.utils import CoreEngineProcManager

_log = logging.getLogger(__name__)

DEFAULTS: Mapping[str, Any] = {
    "enable_prefix_caching": True,
    "max_num_queued_reqs": 256,  # unfinished requests; past it, 503
    "shutdown_timeout": 5,  # seconds its last requests may take
    "use_tqdm_on_load": False,
}
"""Engine arguments that are not vLLM's own defaults."""
CPU_DEFAULTS: Mapping[str, Any] = {
    "kv_cache_memory_bytes": 4 << 30,  # vLLM's own: nine tenths of the machine's memory
}
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before an engine is started again; they double as long as it cannot be started."""
STOP = 15.0
"""Seconds that an engine has to stop, including those for its last requests; then it is killed."""

COUNTED = 1 << 19
"""Tokens, in all, of prompts that were counted and are cached: they are then rendered once, not
twice."""
HANGS_AFTER = 60.0
"""Seconds, in all, in which an engine had requests and returned no token: it counts as hung."""

_CHAT = ChatParams(chat_template_kwargs={"add_generation_prompt": True})
_FINISHED: Mapping[str, FinishReason] = {"stop": "stop", "length": "length"}


class VllmModel:
    """`ChatModel` over a vLLM engine, which is started again whenever it dies."""

    def __init__(self, model: str, *, lora: Path | None, engine: Mapping[str, Any]) -> None:
        """Make a model whose engine is not started; see `opened`."""
        self._model = model
        self._lora = lora and LoRARequest(lora.name, 1, str(lora))
        self._arguments = {"enable_lora": True, **engine} if lora else engine
        self._engine: AsyncLLM | None = None
        self._context = 0
        self._start_seconds = 60.0  # what the last start took
        self._counted: dict[tuple[Message, ...], dict[str, Any]] = {}
        self._asked = 0  # requests that wait for a token
        self._silent = 0.0  # seconds with waiting requests since the last token

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(
        cls, model: str, *, lora: Path | None = None, engine: Mapping[str, Any]
    ) -> AsyncIterator[VllmModel]:
        """Opens a model that has generated once. At the end its last requests are completed.

        Args:
            model: a folder, or a name on the hub.
            lora: the folder of an adapter for the model.
            engine: further arguments of vLLM's AsyncEngineArgs; see `DEFAULTS`.

        Raises:
            ConfigError: The model or an argument is not valid.
        """
        if lora and not (lora / "adapter_config.json").is_file():
            raise ConfigError(f"generator.lora = '{lora}' holds no adapter_config.json.")
        made = cls(model, lora=lora, engine=engine)
        made._engine = await made._start()
        keeper = asyncio.create_task(made._keep())
        try:
            yield made
        finally:
            keeper.cancel()
            await asyncio.wait([keeper])  # whatever it ends with, the engine is stopped
            await made._close()

    @property
    def name(self) -> str:
        """The folder's name, or the name on the hub."""
        return Path(self._model).name if Path(self._model).is_dir() else self._model

    @property
    def context_tokens(self) -> int:
        """Tokens that prompt and answer may have together."""
        return self._context

    async def count_tokens(self, messages: Sequence[Message]) -> int:
        """Counts the tokens of a prompt, including the chat template's own.

        Raises:
            UpstreamError: The engine died and is not up again.
        """
        engine, key = self._living(), tuple(messages)
        if (prompt := self._counted.get(key)) is None:
            with self._translated(engine):
                prompt = await _render(engine, messages)
            if engine is self._engine and len(prompt["prompt_token_ids"]) < self._context:
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
        engine = self._living()
        with self._translated(engine):
            counted = self._counted.pop(tuple(messages), None)
            prompt = counted or await _render(engine, messages)
            params = self._params(sampling, prompt_tokens=len(prompt["prompt_token_ids"]))
            outputs = engine.generate(prompt, params, uuid.uuid4().hex, lora_request=self._lora)
            written = 0
            async with contextlib.aclosing(outputs):
                while (output := await self._next(outputs)) is not None:
                    written += len(output.outputs[0].token_ids)
                    if piece := self._piece(output, written, sampling):
                        yield piece

    async def _next(self, outputs: AsyncGenerator[RequestOutput, None]) -> RequestOutput | None:
        """Returns the next output; None at the end. A slow consumer does not count as waiting."""
        self._asked += 1
        try:
            output = await anext(outputs, None)
        finally:
            self._asked -= 1
        self._silent = 0.0
        return output

    def _params(self, sampling: Sampling, *, prompt_tokens: int) -> SamplingParams:
        room = self._context - prompt_tokens
        if room < 1:
            raise InputError(
                f"The prompt has {prompt_tokens} tokens, and {self.name} takes {self._context} with"
                " the answer: ask a shorter question, or for fewer passages (top_k)."
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
        usage = Usage(input_tokens=len(output.prompt_token_ids), output_tokens=written)
        if not output.finished:
            return Piece(text=new.text, usage=usage) if new.text else None
        if new.finish_reason == "error" and sampling.schema is not None:
            raise InputError(f"{self.name} cannot follow the schema: the log says why.")
        if new.finish_reason not in _FINISHED:
            raise UpstreamError(f"{self.name} gave up half-way ({new.finish_reason}). Try again.")
        return Piece(text=new.text, finish_reason=_FINISHED[new.finish_reason], usage=usage)

    def _living(self) -> AsyncLLM:
        if self._engine is None or self._engine.errored:
            raise self._died()
        return self._engine

    def _died(self) -> UpstreamError:
        return UpstreamError(
            f"The engine of {self.name} ended and is being started again. Try again in a minute;"
            " the log says why it ended.",
            code="engine_died",
            retry_after=self._start_seconds,
        )

    @contextlib.contextmanager
    def _translated(self, engine: AsyncLLM) -> Iterator[None]:
        """Converts exceptions of vLLM to our own."""
        try:
            yield
        except ChatTemplateResolutionError as error:
            raise ConfigError(
                f"{self.name} has no chat template: choose a model that was trained to chat, or"
                " one with a chat_template.jinja beside its config.json."
            ) from error
        except GracefulHTTPError as error:  # its queue is full
            raise BusyError(
                f"{self.name} has as many requests as it may (generator.engine's"
                " max_num_queued_reqs or max_num_queued_tokens). Try again in a moment."
            ) from error
        except (VLLMClientError, ValueError) as error:
            raise InputError(f"{self.name} cannot take this: {_reason(error)}.") from error
        except (VLLMServerError, RuntimeError) as error:
            if engine.errored or engine is not self._engine:
                raise self._died() from error
            raise UpstreamError(
                f"{self.name} failed: {_reason(error.__cause__ or error)}. Try again."
            ) from error

    async def _start(self) -> AsyncLLM:
        """Starts an engine and generates once, so that its first request does not wait.

        Raises:
            ConfigError: The model or an argument is not valid.
        """
        others, began = multiprocessing.active_children(), time.monotonic()
        making = asyncio.ensure_future(asyncio.to_thread(_make, self._model, self._arguments))
        try:
            engine = await asyncio.shield(making)
        except asyncio.CancelledError:
            await _call_off(making, others)
            raise
        self._start_seconds = time.monotonic() - began
        self._context = engine.model_config.max_model_len
        self._counted.clear()  # the folder may hold another tokenizer by now
        try:
            with self._translated(engine):
                prompt = await _render(engine, [Message(role="user", content="warm up")])
                async for _ in engine.generate(
                    prompt, SamplingParams(max_tokens=1), "warm up", lora_request=self._lora
                ):
                    """All of it is loaded now."""
        except BaseException as error:
            await _stop(engine)
            if self._lora and isinstance(error, RagError):
                raise ConfigError(
                    f"{self.name} does not write with generator.lora = '{self._lora.lora_path}': it"
                    " is of another model, of a rank over generator.engine's max_lora_rank, or"
                    " damaged. The log says which."
                ) from error
            raise
        return engine

    async def _keep(self) -> None:
        """Starts the engine again whenever it dies or hangs."""
        while True:
            dead = self._engine
            assert dead is not None  # noqa: S101 - started, or started again below
            hang = asyncio.create_task(self._end_if_it_hangs(dead))
            try:
                await asyncio.wait([dead.output_handler])  # it ends with the engine
            finally:
                hang.cancel()
            self._engine = None
            _log.error("The engine of %s ended; it is being started again.", self.name)
            self._engine = await self._start_after(dead)
            _log.warning("The engine of %s is up again.", self.name)

    async def _end_if_it_hangs(self, engine: AsyncLLM) -> None:
        """Kills the processes of an engine that has requests and does not answer.

        A caller that disconnects before an answer is no sign of life.
        """
        self._silent = 0.0
        while self._silent < HANGS_AFTER:
            await asyncio.sleep(1)
            self._silent += bool(self._asked)
        _log.error("%s gave no token for %g s.", self.name, HANGS_AFTER)
        manager = engine.engine_core.resources.engine_manager
        if isinstance(manager, CoreEngineProcManager):  # and not of other machines
            for process in manager.processes:
                process.kill()

    async def _start_after(self, dead: AsyncLLM) -> AsyncLLM:
        pause = FIRST_PAUSE
        while True:
            try:
                await _stop(dead)
                await asyncio.sleep(pause)
                return await self._start()
            except Exception as error:  # noqa: BLE001 - whatever it was, the next try may go better
                pause = min(2 * pause, LONGEST_PAUSE)
                _log.error("%s Trying again in %g s.", error, pause)

    async def _close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            await _stop(engine)


async def _render(engine: AsyncLLM, messages: Sequence[Message]) -> dict[str, Any]:
    """Renders the chat as token ids, by the model's own template; of any length."""
    chat = [{"role": message.role, "content": message.content} for message in messages]
    tokenizing = dataclasses.replace(engine.renderer.default_chat_tok_params, max_total_tokens=None)
    _, (prompt,) = await engine.renderer.render_chat_async([chat], _CHAT, tokenizing)
    rendered: dict[str, Any] = prompt
    rendered.pop("arrival_time", None)  # it arrives with the request to generate
    return rendered


async def _stop(engine: AsyncLLM) -> None:
    await asyncio.to_thread(engine.shutdown, STOP)
    resources = engine.engine_core.resources
    resources()  # closes the sockets, which is the loop's to do
    resources.ctx.destroy(linger=0)  # vLLM leaves it to the garbage collector: two threads


async def _call_off(making: asyncio.Future[AsyncLLM], others: Sequence[BaseProcess]) -> None:
    """Cancels a start. Its thread cannot be stopped, but the processes that it waits for can."""
    while not making.done():
        for child in multiprocessing.active_children():
            if child.name.startswith("EngineCore") and child not in others:
                child.kill()
        await asyncio.wait([making], timeout=0.2)
    if making.exception() is None:
        await _stop(making.result())


def _make(model: str, arguments: Mapping[str, Any]) -> AsyncLLM:
    """Starts an engine and waits for it, a minute or more; for use in a thread.

    Raises:
        ConfigError: The model or an argument is not valid.
    """
    args = _engine_args(model, arguments)
    preload = os.environ.get("LD_PRELOAD")
    try:
        config = args.create_engine_config(UsageContext.ENGINE_CONTEXT)
        _check_writes(config.model_config)
        return AsyncLLM.from_vllm_config(
            config,
            usage_context=UsageContext.ENGINE_CONTEXT,
            enable_log_requests=args.enable_log_requests,
            disable_log_stats=args.disable_log_stats,
        )
    except RagError:
        raise
    except Exception as error:
        raise _unfit(model, error) from error
    finally:  # what vLLM preloads is for its own processes, not for those that others start
        os.environ.pop("LD_PRELOAD", None)
        if preload is not None:
            os.environ["LD_PRELOAD"] = preload


def _engine_args(model: str, arguments: Mapping[str, Any]) -> AsyncEngineArgs:
    known = {field.name for field in dataclasses.fields(AsyncEngineArgs)} - {"model"}
    for name in arguments:
        if name not in known:
            near = get_close_matches(name, sorted(known), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ConfigError(
                f"generator.engine has {name!r}, which vLLM's AsyncEngineArgs do not take.{hint}"
            )
    if Path(model).is_dir():
        if "load_format" not in arguments:
            check_checkpoint(Path(model))
    elif Path(model).is_absolute() or model.startswith((".", "~")):
        raise ConfigError(f"generator.model names {model!r}, and there is no such folder.")
    defaults = {**DEFAULTS, **(CPU_DEFAULTS if current_platform.is_cpu() else {})}
    try:
        return AsyncEngineArgs(model=model, **(defaults | dict(arguments)))
    except Exception as error:
        raise _unfit(model, error) from error


def _check_writes(model: ModelConfig) -> None:
    if model.runner_type != "generate":
        raise ConfigError(
            f"generator.model = {model.model!r} is not a language model: it embeds or classifies."
            " Name one that writes."
        )


def _unfit(model: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"vLLM does not start with generator.model = {model!r} and what generator.engine says:"
        f" {_reason(error)}. The log may say more."
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(
            ": ".join([*map(str, found["loc"][:1]), found["msg"].removeprefix("Value error, ")])
            for found in error.errors(
                include_url=False, include_context=False, include_input=False
            )[:FIRST]
        ).rstrip(".")
    return words(error).rstrip(".")
