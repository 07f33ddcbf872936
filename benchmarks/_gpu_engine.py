"""Language models on a device: through `VllmModel`, and the same `AsyncLLM` driven directly.

Each step of decoding reads all weights once. What that takes at the least, weights over the
device's bandwidth, is given as a share of the time between two tokens; the bandwidth is measured
here, by copying. The KV cache, which is read besides, counts for nothing.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks._common import Report, SkippedError, p50, percentile
from benchmarks._models import (
    LLAMA_1B,
    LLAMA_8B,
    TINY_LLAMA,
    LlamaShape,
    make_llama,
    weights_read,
)
from benchmarks._writing import Turn, Write, prompts, straight, take_turn, through_us
from rag.build.generation import open_chat_model
from rag.settings.generation import VllmSettings
from rag.types import Message

LLAMAS: Mapping[str, Mapping[str, LlamaShape]] = {
    "cuda": {"Llama 1B": LLAMA_1B, "Llama 8B": LLAMA_8B},
    "cpu": {"tiny Llama": TINY_LLAMA},
}
ENGINE: Mapping[str, dict[str, Any]] = {
    "cuda": {"dtype": "bfloat16", "gpu_memory_utilization": 0.8},
    "cpu": {"dtype": "bfloat16", "enforce_eager": True, "kv_cache_memory_bytes": 1 << 27},
}
REQUESTS = {"cuda": {1: 8, 8: 64, 32: 256, 128: 512}, "cpu": {1: 2, 8: 8}}
"""In one turn of one side, by concurrency."""
ROUNDS = 3
OUTPUT_TOKENS = 128
COPIED = {"cuda": 4 << 30, "cpu": 1 << 28}
"""Bytes of one copy: too many for any cache."""
COPIES = 10
QUANTILES = (50, 95, 99)
Sides = Mapping[str, Write[Sequence[Message]]]


async def measure_engine(
    report: Report, folder: Path, models: Sequence[str], *, device: str
) -> None:
    """Adds the figures of `models`, or of Llamas made in `folder`.

    Raises:
        SkippedError: vLLM is not installed, or not for this device.
    """
    if find_spec("vllm") is None:
        raise SkippedError("vllm is not installed (docs/vllm.md)")
    from vllm.platforms import current_platform

    if current_platform.device_type != device:
        raise SkippedError(f"the vllm that is installed runs on {current_platform.device_type}")
    bandwidth = _bandwidth(device)
    report.add("copying", bandwidth / 1e9, unit="GB/s")
    for name, model, engine in _engines(folder, models, device):
        settings = VllmSettings(kind="vllm", model=model, engine=engine)
        before = memory_used(device)
        async with open_chat_model(settings) as opened:
            from generation.models.vllm import VllmModel

            assert isinstance(opened, VllmModel)
            if used := memory_used(device) - before:
                report.add(f"{name}: memory of the device", used / (1 << 30), unit="GiB")
            sides = {
                "ours": through_us(opened, tokens=OUTPUT_TOKENS),
                "floor": straight(opened, tokens=OUTPUT_TOKENS),
            }
            for concurrency, requests in REQUESTS[device].items():
                turns = await _by_turns(sides, concurrency, requests)
                title = f"{name}, {concurrency} at a time"
                _report(report, title, turns, least=weights_read(model) / bandwidth)


def _engines(
    folder: Path, models: Sequence[str], device: str
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name, model and engine arguments of each, as far as half the device's memory has room."""
    for model in models:
        yield Path(model).name, model, ENGINE[device]
    for name, shape in () if models else LLAMAS[device].items():
        made = str(make_llama(folder / name, shape))
        if device == "cpu" or 2 * weights_read(made) < torch.cuda.mem_get_info()[1]:
            yield name, made, {**ENGINE[device], "load_format": "dummy"}


async def _by_turns(sides: Sides, concurrency: int, requests: int) -> dict[str, list[Turn]]:
    turns: dict[str, list[Turn]] = {name: [] for name in sides}
    endless = prompts()
    for number in range(ROUNDS + 1):
        for name in sorted(sides, reverse=bool(number % 2)):
            waiting = list(itertools.islice(endless, requests))
            turn = await take_turn(sides[name], waiting, concurrency=concurrency)
            if number:  # the first one warms up
                turns[name].append(turn)
    return turns


def _report(
    report: Report, title: str, turns: Mapping[str, Sequence[Turn]], *, least: float
) -> None:
    """Adds speed, times to the first token and between two, and `least` seconds as a share."""
    ours, floor = turns["ours"], turns["floor"]
    speed = (p50([turn.speed for turn in side]) for side in (ours, floor))
    report.add(f"{title}: output", next(speed), unit="tokens/s", floor=next(speed))
    first = [[s * 1e3 for turn in side for s in turn.first] for side in (ours, floor)]
    between = [[s * 1e3 for turn in side for s in turn.between] for side in (ours, floor)]
    for name, (mine, theirs) in (("first token", first), ("between tokens", between)):
        for q in QUANTILES:
            value, beside = percentile(mine, q), percentile(theirs, q)
            report.add(f"{title}: {name} p{q}", value, unit="ms", floor=beside)
    shares = (least * 1e3 / p50(side) for side in between)
    report.add(f"{title}: share of the bandwidth", next(shares), floor=next(shares))


def memory_used(device: str) -> float:
    """Bytes of the device that all processes have together; 0 on the CPU."""
    if device == "cpu":
        return 0.0
    free, total = torch.cuda.mem_get_info()
    return float(total - free)


def _bandwidth(device: str) -> float:
    """Bytes a second that are read or written in a copy from the device to itself."""
    source = torch.ones(COPIED[device], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    started = time.perf_counter()
    for _ in range(COPIES):
        target.copy_(source)
    int(target[-1])  # a GPU is asked and does not wait; for a number it does
    taken = time.perf_counter() - started
    del source, target
    torch.cuda.empty_cache()
    return 2 * COPIED[device] * COPIES / taken
