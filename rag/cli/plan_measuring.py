"""`rag plan --measure`: short measurements of this machine, with which the plan is made."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generation.models.vllm_timing import EngineTimer
from rag.build.embedding import build_embedder
from rag.operations.capacity.load import Load
from rag.operations.capacity.load_plan import Plan, mean_chunk
from rag.operations.capacity.machine_checks import (
    CHUNKS,
    Compared,
    files_bytes,
    fill_index,
    passage_seconds,
    planned_bytes,
)
from rag.operations.capacity.machine_rates import HERE, MachineRates, machine_rates
from rag.process.child_process import ChildProcess
from rag.process.cores import core_count
from rag.settings.generation import OpenAISettings, VllmSettings
from rag.settings.tree import Settings

if TYPE_CHECKING:
    from rag.protocols import ChatModel

ANSWER_TOKENS = 64
QUIET = 0.2
"""Processes of other programs for each core, at most, without a warning."""
ENGINE_SECONDS = 600.0
"""Most seconds in which one engine is started and timed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The measurements of this machine.

    Attributes:
        settings: those of the plan: with the embedder's rate, and with this machine as a GPU.
        gpus: the kinds of GPUs that were measured: this machine, or none.
        compared: figures beside those of the plan.
        rates: what engines reach; None without vLLM.
        busy: load average for each core before: processes that ran or waited in a minute.
    """

    settings: Settings
    gpus: tuple[str, ...]
    compared: tuple[Compared, ...]
    rates: MachineRates | None
    busy: float

    def lines(self) -> list[str]:
        """Returns all in words."""
        found = [each.line() for each in self.compared]
        if self.rates is None:
            found.append(
                "engine: vLLM is not installed here, so bandwidth, arithmetic and overhead stay"
                " assumptions"
            )
        else:
            rates = self.rates
            found.append(
                f"engine, on {rates.device.name}: {rates.bandwidth:,.1f} GB/s,"
                f" {rates.single_bandwidth or rates.bandwidth:,.1f} GB/s with one request,"
                f" {rates.tflops:,.3g} · 10¹² operations/s, {rates.step_ms:.2f} ms for a step and"
                f" {rates.layer_ms:.3f} ms for each of its layers ({HERE!r} in the table)"
            )
        if self.busy > QUIET:
            found.append(
                f"Before, {self.busy:.1f} processes ran or waited for each core, so these times are"
                " wrong, and the plan with them: measure again while nothing else is running"
            )
        return found

    def as_json(self) -> dict[str, Any]:
        """Returns all for programs."""
        figures = {
            each.name: {"planned": each.planned, "measured": each.measured}
            for each in self.compared
        }
        kind = self.rates and self.rates.kind.model_dump(exclude_none=True)
        return {"figures": figures, "engine": kind, "busy": self.busy, "lines": self.lines()}

    def with_answer(self, plan: Plan) -> Measured:
        """Returns this with an answer of the engine that the settings name, if they name one.

        It is compared with the plan for this machine, if the machine was measured and carries the
        load, and else with the plan for the best GPU.

        Raises:
            RagError: The engine cannot be opened, or does not answer.
        """
        generator = self.settings.generator
        choice = next((each for each in plan.carrying if each.gpu == HERE), plan.best)
        if choice is None or not isinstance(generator, OpenAISettings | VllmSettings):
            return self
        planned = 1 / choice.serving.step_seconds(1, plan.load.tokens_in)
        compared = asyncio.run(_engine(generator, planned))
        return replace(self, compared=(*self.compared, compared))


def measure(settings: Settings, load: Load, *, dim: int) -> Measured:
    """Measures embedder, index and, with vLLM, engines.

    Raises:
        ConfigError: The embedder cannot be loaded.
        UpstreamError: The times of engines contradict each other.
    """
    return asyncio.run(_measure(settings, load, dim=dim))


async def _measure(settings: Settings, load: Load, *, dim: int) -> Measured:
    busy, tokens = os.getloadavg()[0] / core_count(), mean_chunk(load, settings)
    embedder = build_embedder(settings.embedder)
    try:
        seconds = await passage_seconds(embedder, tokens=round(tokens))
    finally:
        embedder.close()
    rate = round(tokens) / seconds
    embedding = Compared(
        name=f"embedding, one process on {core_count()} cores",
        planned=settings.capacity.embedder_tokens,
        measured=rate,
        unit="tokens/s",
    )
    rates = await _rates() if find_spec("vllm") else None
    kinds = {HERE: rates.kind} if rates else {}
    assumed = settings.capacity.model_copy(
        update={"embedder_tokens": rate, "gpus": {**settings.capacity.gpus, **kinds}}
    )
    index = await _index(dim, tokens)
    return Measured(
        busy=busy,
        settings=settings.model_copy(update={"capacity": assumed}),
        gpus=tuple(kinds),
        compared=(embedding, index),
        rates=rates,
    )


async def _rates() -> MachineRates:
    timer = await ChildProcess.started(
        EngineTimer, name="timed engines", lanes=1, seconds=ENGINE_SECONDS
    )
    try:
        return await machine_rates(timer.call, timer.about)
    finally:
        timer.close()


async def _index(dim: int, tokens: float) -> Compared:
    """Returns the bytes of a chunk in an embedded index of generated chunks."""
    from retrieval.indexes.edge import EdgeIndex

    with tempfile.TemporaryDirectory(prefix="plumbline-plan-") as name:
        index = EdgeIndex(Path(name), dim=dim)
        try:
            await fill_index(index, dim=dim, tokens=tokens)
        finally:
            await index.close()
        size = files_bytes(Path(name))
    return Compared(
        name="embedded index, generated chunks",
        planned=planned_bytes(dim=dim, tokens=tokens) / CHUNKS,
        measured=size / CHUNKS,
        unit="bytes/chunk",
    )


async def _engine(settings: OpenAISettings | VllmSettings, planned: float) -> Compared:
    """Returns tokens/s of one answer by the engine that the settings name."""
    from rag.build.generation import open_model

    async with contextlib.AsyncExitStack() as stack:
        model = await open_model(settings, stack)
        await _write(model)
        seconds = await _write(model)
    return Compared(
        name=f"one answer by {settings.model}",
        planned=planned,
        measured=ANSWER_TOKENS / seconds,
        unit="tokens/s",
    )


async def _write(model: ChatModel) -> float:
    """Returns the seconds from the first piece of an answer to its last."""
    from rag.types import Message, Sampling

    prompt = [Message(role="user", content="Write a long story about the sea.")]
    first = last = time.perf_counter()
    pieces = 0
    async for _ in model.stream(prompt, sampling=Sampling(max_tokens=ANSWER_TOKENS)):
        last = time.perf_counter()
        first = first if pieces else last
        pieces += 1
    return (last - first) * ANSWER_TOKENS / max(pieces - 1, 1)
