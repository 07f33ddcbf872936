"""Starts and stops vLLM engines: each runs in processes of its own."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from pydantic import ValidationError

from generation.models.checkpoints import check_checkpoint
from rag.errors import ConfigError, RagError
from rag.privacy.redaction import words
from rag.text.validation_errors import FIRST
from rag.types import Message

# Read as vLLM is loaded, and by the processes it starts.
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")

from vllm import AsyncEngineArgs
from vllm.config import ModelConfig
from vllm.platforms import current_platform
from vllm.renderers.params import ChatParams
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.engine.utils import CoreEngineProcManager

_log = logging.getLogger(__name__)
_SOCKET_FOLDER = "VLLM_RPC_BASE_PATH"
_temporary = os.environ.get(_SOCKET_FOLDER)
_sockets: WeakKeyDictionary[AsyncLLM, str] = WeakKeyDictionary()
"""The folders of engines' sockets, which vLLM leaves behind."""

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
STOP = 15.0
"""Seconds that an engine has to stop, including those for its last requests; then it is killed."""
KILLED = 30.0
"""Seconds that a killed process has to end: the system frees its memory first."""

_CHAT = ChatParams(chat_template_kwargs={"add_generation_prompt": True})


async def start(model: str, arguments: Mapping[str, Any]) -> AsyncLLM:
    """Starts an engine and waits for it, a minute or more; leaves no process if it is cancelled.

    Raises:
        ConfigError: The model or an argument is not valid.
    """
    others = multiprocessing.active_children()
    making = asyncio.ensure_future(asyncio.to_thread(_make, model, arguments))
    try:
        return await asyncio.shield(making)
    except asyncio.CancelledError:
        await _call_off(making, others)
        raise


async def stop(engine: AsyncLLM) -> None:
    """Stops an engine, once its last requests are completed; its processes have ended then.

    After `STOP` seconds it is killed, and the requests that are left fail.
    """
    await asyncio.to_thread(_shut_down, engine)
    engine.output_processor.propagate_error(EngineDeadError())  # a killed one ends no request
    resources = engine.engine_core.resources
    resources()  # closes the sockets, which is the loop's to do
    resources.ctx.destroy(linger=0)  # vLLM leaves it to the garbage collector: two threads
    if folder := _sockets.pop(engine, None):
        shutil.rmtree(folder, ignore_errors=True)


def processes_of(engine: AsyncLLM) -> list[BaseProcess]:
    """Returns the engine's processes; none if it runs on other machines."""
    manager = engine.engine_core.resources.engine_manager
    return list(manager.processes) if isinstance(manager, CoreEngineProcManager) else []


async def render(engine: AsyncLLM, messages: Sequence[Message]) -> dict[str, Any]:
    """Renders the chat as token ids, by the model's own template; of any length."""
    chat = [{"role": message.role, "content": message.content} for message in messages]
    tokenizing = dataclasses.replace(engine.renderer.default_chat_tok_params, max_total_tokens=None)
    _, (prompt,) = await engine.renderer.render_chat_async([chat], _CHAT, tokenizing)
    rendered: dict[str, Any] = prompt
    rendered.pop("arrival_time", None)  # it arrives with the request to generate
    return rendered


async def render_text(engine: AsyncLLM, text: str, *, most: int) -> dict[str, Any]:
    """Returns the token ids of a text without a chat around it, `most` of them at most."""
    tokens = engine.get_tokenizer().encode(text)[:most]
    (prompt,) = await engine.renderer.render_cmpl_async([{"prompt_token_ids": tokens}])
    rendered: dict[str, Any] = prompt
    rendered.pop("arrival_time", None)
    return rendered


def reason(error: BaseException) -> str:
    """Returns what an exception of vLLM says, without the full stop at its end."""
    if isinstance(error, ValidationError):
        return "; ".join(
            ": ".join([*map(str, found["loc"][:1]), found["msg"].removeprefix("Value error, ")])
            for found in error.errors(
                include_url=False, include_context=False, include_input=False
            )[:FIRST]
        ).rstrip(".")
    return words(error).rstrip(".")


def _shut_down(engine: AsyncLLM) -> None:
    processes = processes_of(engine)
    engine.shutdown(STOP)
    for process in processes:
        process.join(KILLED)  # vLLM does not wait for those that it kills
        if process.is_alive():
            _log.error("Process %s of an engine that was killed has not ended.", process.pid)


async def _call_off(making: asyncio.Future[AsyncLLM], others: Sequence[BaseProcess]) -> None:
    """Cancels a start. Its thread cannot be stopped, but the processes that it waits for can."""
    while not making.done():
        for child in multiprocessing.active_children():
            if child.name.startswith("EngineCore") and child not in others:
                child.kill()
        await asyncio.wait([making], timeout=0.2)
    if making.exception() is None:
        await stop(making.result())


def _make(model: str, arguments: Mapping[str, Any]) -> AsyncLLM:
    """Starts an engine and waits for it, a minute or more; for use in a thread.

    Raises:
        ConfigError: The model or an argument is not valid.
    """
    args = _engine_args(model, arguments)
    preload = os.environ.get("LD_PRELOAD")
    # A socket's path has at most 107 characters, and its name takes 36: the prefix is short.
    sockets = os.environ[_SOCKET_FOLDER] = tempfile.mkdtemp(prefix="rag-", dir=_temporary)
    try:
        config = args.create_engine_config(UsageContext.ENGINE_CONTEXT)
        _check_writes(config.model_config)
        engine = AsyncLLM.from_vllm_config(
            config,
            usage_context=UsageContext.ENGINE_CONTEXT,
            enable_log_requests=args.enable_log_requests,
            disable_log_stats=args.disable_log_stats,
        )
    except Exception as error:
        shutil.rmtree(sockets, ignore_errors=True)
        if isinstance(error, RagError):
            raise
        raise _unfit(model, error) from error
    else:
        _sockets[engine] = sockets
        return engine
    finally:  # both are for vLLM's own processes, not for those that others start
        _set("LD_PRELOAD", preload)
        _set(_SOCKET_FOLDER, _temporary)


def _set(name: str, value: str | None) -> None:
    """Sets a variable of the environment, or removes it."""
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


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
        f"vLLM does not start with generator.model = {model!r} and the arguments of"
        f" generator.engine: {reason(error)}. The log may say more."
    )
