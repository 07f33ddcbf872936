"""The cost of `VllmModel` over its engine.

Measured: a Llama with random weights, made here, writes 64 tokens for each of many prompts of 400
words, with 1, 8 and 32 requests at a time. The floor is the same `AsyncLLM`, driven directly with
the same prompts' token ids, made by the tokenizer alone: template and all that stands between are
ours. Both take turns, and each prompt begins with a number of its own, so that neither finds the
other's in the prefix cache.

Then several questions over the same passages, and the share of prompt tokens that the prefix cache
had, as the engine counts them. At last `POST /v1/query` of a real `rag serve`, against the engine
driven directly (`_vllm_http`).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import uvloop

from benchmarks._common import EXAMPLES, Report, SkippedError, Target, p50
from benchmarks._texts import questions, words
from benchmarks._vllm_http import compare_over_http
from benchmarks._writing import (
    PASSAGE_WORDS,
    RULES,
    Turn,
    make_prompt,
    prompts,
    straight,
    take_turn,
    through_us,
)
from rag.build.generation import open_chat_model
from rag.settings.generation import VllmSettings
from rag.types import Message, Sampling
from tests.tiny_llama import make_tiny_llama

if TYPE_CHECKING:
    from generation.models.vllm import VllmModel

CONCURRENCY = (1, 8, 32)
ROUNDS = 6
REQUESTS = {1: 12, 8: 48, 32: 96}
"""In one turn of one side, by concurrency."""
OUTPUT_TOKENS = 64
HTTP_OUTPUT_TOKENS = 256
"""Of an answer of some paragraphs: what is done once for each weighs less than in short ones."""
TOPICS, ASKED = 8, 6
"""Sets of passages, and questions over each."""
MIB = 1 << 20
ENGINE = {"dtype": "bfloat16", "enforce_eager": True, "kv_cache_memory_bytes": 256 * MIB}


def run() -> Report:
    """Start, both sides by turns, then the prefix cache."""
    if find_spec("vllm") is None:
        raise SkippedError("vllm is not installed (docs/vllm.md)")
    report = Report()
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder:
        model = make_tiny_llama(
            Path(folder) / "llama",
            hidden=256,
            layers=4,
            context=4096,
            vocabulary=4096,
            texts=[file.read_text("utf-8") for file in sorted(EXAMPLES.glob("*.rst"))],
        )
        uvloop.run(_measure(report, model))  # as the service does
    return report


async def _measure(report: Report, folder: Path) -> None:
    before = _memory()
    started = time.perf_counter()
    settings = VllmSettings(kind="vllm", model=str(folder), engine=ENGINE)
    async with open_chat_model(settings) as opened:
        from generation.models.vllm import VllmModel

        assert isinstance(opened, VllmModel)
        report.add("start, to the first token", time.perf_counter() - started, unit="s")
        report.add("memory, all processes", (_memory() - before) / MIB, unit="MiB")
        endless = prompts()
        for concurrency in CONCURRENCY:
            await _compare(report, opened, endless, concurrency)
        await _repeat(report, opened)
        await compare_over_http(report, opened, folder, engine=ENGINE, tokens=HTTP_OUTPUT_TOKENS)


async def _compare(
    report: Report, model: VllmModel, endless: Iterator[list[Message]], concurrency: int
) -> None:
    turns: dict[str, list[Turn]] = {"ours": [], "floor": []}
    sides = {
        "ours": through_us(model, tokens=OUTPUT_TOKENS),
        "floor": straight(model, tokens=OUTPUT_TOKENS),
    }
    for number in range(ROUNDS + 1):
        for name in sorted(sides, reverse=bool(number % 2)):
            waiting = list(itertools.islice(endless, REQUESTS[concurrency]))
            turn = await take_turn(sides[name], waiting, concurrency=concurrency)
            if number:  # the first one warms up
                turns[name].append(turn)
    speed = {name: p50([turn.speed for turn in taken]) for name, taken in turns.items()}
    first = {name: p50([s * 1e3 for t in taken for s in t.first]) for name, taken in turns.items()}
    report.add(
        f"output, {concurrency} at a time",
        speed["ours"],
        unit="tokens/s",
        floor=speed["floor"],
        target=Target(bound=0.97, by="ratio", at_least=True),
    )
    report.add(
        f"first token p50, {concurrency} at a time",
        first["ours"],
        unit="ms",
        floor=first["floor"],
        target=Target(bound=10, by="difference"),
    )


async def _repeat(report: Report, model: VllmModel) -> None:
    text = words()
    topics = questions(TOPICS * ASKED)
    before = _prefix_cache()
    for number, question in enumerate(topics):
        start = number % TOPICS * PASSAGE_WORDS
        prompt = make_prompt(RULES, " ".join(text[start : start + PASSAGE_WORDS]), question)
        async for _ in model.stream(prompt, sampling=Sampling(max_tokens=1)):
            pass
    hits, looked_for = (now - was for now, was in zip(_prefix_cache(), before, strict=True))
    target = Target(bound=0.5, at_least=True)
    report.add("prefix cache, share of prompt tokens", hits / looked_for, target=target)
    report.notes.append(
        f"prefix cache: {TOPICS} sets of passages by turns, {ASKED} questions over each"
    )


def _prefix_cache() -> tuple[float, float]:
    """Prompt tokens that the prefix cache had, and those that were looked for in it."""
    from prometheus_client import REGISTRY

    names = ("vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total")
    counted = dict.fromkeys(names, 0.0)
    for metric in REGISTRY.collect():
        for sample in metric.samples:
            if sample.name in counted:
                counted[sample.name] += sample.value
    return counted[names[0]], counted[names[1]]


def _memory() -> float:
    """Bytes that this process and those below it have to themselves."""
    here = psutil.Process(os.getpid())
    total = 0
    for process in (here, *here.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().uss
    return float(total)
