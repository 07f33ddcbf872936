"""Keeps a vLLM engine up: it is started again whenever it dies or hangs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import Any

from generation.models import vllm_engine
from generation.models.vllm_engine import processes_of, reason, render
from rag.errors import BusyError, ConfigError, InputError, RagError, UpstreamError
from rag.types import Message

# isort: split
# `vllm_engine` sets the environment in which vLLM is loaded.
from vllm import SamplingParams
from vllm.exceptions import GracefulHTTPError, VLLMClientError, VLLMServerError
from vllm.lora.request import LoRARequest
from vllm.outputs import RequestOutput
from vllm.renderers.chat_utils import ChatTemplateResolutionError
from vllm.v1.engine.async_llm import AsyncLLM

_log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before an engine is started again; they double as long as it cannot be started."""
HANGS_AFTER = 60.0
"""Seconds, in all, in which an engine had requests and returned no token: it counts as hung."""


class EngineSupervisor:
    """An engine that is started again whenever it dies or hangs."""

    def __init__(
        self,
        model: str,
        *,
        name: str,
        adapters: Sequence[LoRARequest],
        arguments: Mapping[str, Any],
        started: Callable[[], None],
    ) -> None:
        """Make a keeper whose engine is not started; see `running`.

        Args:
            model: a folder, or a name on the hub.
            name: the model's name in messages.
            adapters: of the model; each writes a token before the engine counts as started.
            arguments: of vLLM's AsyncEngineArgs.
            started: is called whenever an engine has started.
        """
        self._model = model
        self._name = name
        self._adapters = adapters
        self._arguments = arguments
        self._started = started
        self.engine: AsyncLLM | None = None
        self.context = 0
        """Tokens that prompt and answer may have together."""
        self._start_seconds = 60.0  # what the last start took
        self._waiting = 0  # requests that wait for a token
        self._silent = 0.0  # seconds with waiting requests since the last token

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Starts the engine and keeps it up during the block. Then its last requests are completed.

        Raises:
            ConfigError: The model or an argument is not valid.
        """
        self.engine = await self._start()
        supervising = asyncio.create_task(self._supervise())
        try:
            yield
        finally:
            supervising.cancel()
            await asyncio.wait([supervising])  # whatever it ends with, the engine is stopped
            engine, self.engine = self.engine, None
            if engine is not None:
                await vllm_engine.stop(engine)

    def living(self) -> AsyncLLM:
        """Returns the engine.

        Raises:
            UpstreamError: It died and is not up again.
        """
        if self.engine is None or self.engine.errored:
            raise self._died()
        return self.engine

    async def next_of(self, outputs: AsyncGenerator[RequestOutput, None]) -> RequestOutput | None:
        """Returns the next output; None at the end. A slow consumer does not count as waiting."""
        self._waiting += 1
        try:
            output = await anext(outputs, None)
        finally:
            self._waiting -= 1
        self._silent = 0.0
        return output

    @contextlib.contextmanager
    def translated(self, engine: AsyncLLM) -> Iterator[None]:
        """Converts exceptions of vLLM to our own."""
        try:
            yield
        except ChatTemplateResolutionError as error:
            raise ConfigError(
                f"{self._name} has no chat template: choose a model that was trained to chat, or"
                " one with a chat_template.jinja beside its config.json."
            ) from error
        except GracefulHTTPError as error:  # its queue is full
            raise BusyError(
                f"{self._name} has as many requests as it may (generator.engine's"
                " max_num_queued_reqs or max_num_queued_tokens). Try again in a moment."
            ) from error
        except (VLLMClientError, ValueError) as error:
            raise InputError(f"{self._name} cannot take this: {reason(error)}.") from error
        except (VLLMServerError, RuntimeError) as error:
            if engine.errored or engine is not self.engine:
                raise self._died() from error
            raise UpstreamError(
                f"{self._name} failed: {reason(error.__cause__ or error)}. Try again."
            ) from error

    def _died(self) -> UpstreamError:
        return UpstreamError(
            f"The engine of {self._name} ended and is being started again. Try again in a minute;"
            " the log says why it ended.",
            code="engine_died",
            retry_after=self._start_seconds,
        )

    async def _start(self) -> AsyncLLM:
        """Starts an engine and generates once, with each adapter: no first request waits.

        Raises:
            ConfigError: The model or an argument is not valid.
        """
        began = time.monotonic()
        engine = await vllm_engine.start(self._model, self._arguments)
        self._start_seconds = time.monotonic() - began
        self.context = engine.model_config.max_model_len
        self._started()
        try:
            for adapter in self._adapters or (None,):
                await self._warm(engine, adapter)
        except BaseException:
            await vllm_engine.stop(engine)
            raise
        return engine

    async def _warm(self, engine: AsyncLLM, adapter: LoRARequest | None) -> None:
        """Generates once, after which all of model and adapter is loaded.

        Raises:
            ConfigError: The adapter does not fit the model.
        """
        try:
            with self.translated(engine):
                prompt = await render(engine, [Message(role="user", content="warm up")])
                async for _ in engine.generate(
                    prompt, SamplingParams(max_tokens=1), "warm up", lora_request=adapter
                ):
                    """All of it is loaded now."""
        except RagError as error:
            if adapter is None:
                raise
            raise ConfigError(
                f"{self._name} does not write with the adapter '{adapter.lora_path}' of"
                " generator.lora or generator.adapters: it is of another model, of a rank over"
                " generator.engine's max_lora_rank, or damaged. The log says which."
            ) from error

    async def _supervise(self) -> None:
        """Starts the engine again whenever it dies or hangs."""
        while True:
            dead = self.engine
            assert dead is not None  # noqa: S101 - started, or started again below
            hang = asyncio.create_task(self._end_if_it_hangs(dead))
            try:
                await asyncio.wait([dead.output_handler])  # it ends with the engine
            finally:
                hang.cancel()
            self.engine = None
            _log.error("The engine of %s ended; it is being started again.", self._name)
            self.engine = await self._start_after(dead)
            _log.warning("The engine of %s is up again.", self._name)

    async def _end_if_it_hangs(self, engine: AsyncLLM) -> None:
        """Kills the processes of an engine that has requests and does not answer.

        A caller that disconnects before an answer is no sign of life.
        """
        self._silent = 0.0
        while self._silent < HANGS_AFTER:
            await asyncio.sleep(1)
            self._silent += bool(self._waiting)
        _log.error("%s gave no token for %g s.", self._name, HANGS_AFTER)
        for process in processes_of(engine):
            process.kill()

    async def _start_after(self, dead: AsyncLLM) -> AsyncLLM:
        pause = FIRST_PAUSE
        while True:
            try:
                await vllm_engine.stop(dead)
                await asyncio.sleep(pause)
                return await self._start()
            except Exception as error:  # noqa: BLE001 - whatever it was, the next try may go better
                pause = min(2 * pause, LONGEST_PAUSE)
                _log.error("%s Trying again in %g s.", error, pause)
