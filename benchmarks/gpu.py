"""Throughput and latency on a GPU, beside those of the libraries alone.

    python -m benchmarks.gpu [PART …] [--model FOLDER_OR_NAME …] [--device cpu]

Embedder and reranker work through many passages, in processes of their own as always; the floor is
`SentenceTransformer.encode` and `CrossEncoder.predict` of the same in one call. Language models
write where vLLM is installed (`_gpu_engine`). Both sides take turns.

All models have the shapes of real ones and random weights; `--model` names language models to take
instead. `--device cpu` is to try this file out, with tiny ones.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import uvloop

from benchmarks._common import Report, SkippedError, hardware, p50, table
from benchmarks._gpu_engine import measure_engine, memory_used
from benchmarks._models import (
    BASE,
    MINILM,
    TINY,
    BertShape,
    make_chunks,
    make_cross_encoder,
    make_embedder,
    quiet,
)
from benchmarks._texts import words
from rag.types import Chunk, Query, Scope
from retrieval.embedders.bert_model import torch_device, torch_dtype
from retrieval.embedders.embedder import BertEmbedder
from retrieval.rerankers.cross_encoder import CrossEncoderReranker

PARTS = ("embedder", "reranker", "engine")
ROUNDS = 3
WINDOW = 70
"""Words of a passage: some 100 tokens."""
JUDGED = 50
"""Passages for a question."""
CALLERS = 32
FLOOR_BATCH = 256
SCOPE = Scope(tenant="bench", collection="none")
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Sizes of the input of the encoders."""

    embedders: Mapping[str, BertShape]
    rerankers: Mapping[str, BertShape]
    passages: int


SIZES = {
    "cuda": _Sizes({"MiniLM": MINILM, "BERT-base": BASE}, {"BERT-base": BASE}, passages=8000),
    "cpu": _Sizes({"tiny": TINY}, {"tiny": TINY}, passages=50),
}


def main() -> int:
    """Runs the parts that are named, or all; 1 where the device is not there."""
    options = _options()
    if options.device == "cuda" and not torch.cuda.is_available():
        print(
            f"There is no CUDA device: torch {torch.__version__} sees none. `--device cpu` tries"
            " this benchmark out on tiny models.",
            file=sys.stderr,
        )
        return 1
    print(hardware(), flush=True)
    for part in options.parts or PARTS:
        print(f"\n{part}", flush=True)
        try:
            report = uvloop.run(_measure(part, options))  # as the service does
        except SkippedError as missing:
            print(f"skipped: {missing}", flush=True)
        else:
            print(table(report.figures), flush=True)
    return 0


async def _measure(part: str, options: argparse.Namespace) -> Report:
    report, device = Report(), options.device
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder:
        match part:
            case "embedder":
                for name, shape in SIZES[device].embedders.items():
                    made = make_embedder(Path(folder) / name, shape)
                    await _embed(report, name, made, device)
            case "reranker":
                for name, shape in SIZES[device].rerankers.items():
                    made = make_cross_encoder(Path(folder) / name, shape)
                    await _rerank(report, name, made, device)
            case _:
                await measure_engine(report, Path(folder), options.model, device=device)
    return report


async def _embed(report: Report, name: str, model: Path, device: str) -> None:
    from sentence_transformers import SentenceTransformer

    texts = _passages(SIZES[device].passages)
    before = memory_used(device)
    embedder = BertEmbedder(model, device=device, max_waiting=len(texts))
    tokens = sum(embedder.count_tokens(texts)) + 2 * len(texts)  # [CLS] and [SEP]

    async def dense() -> None:
        await embedder.embed(texts, kind="passage")

    async def by_token() -> None:
        await embedder.embed_tokens(texts, kind="passage")

    async def floor() -> None:
        library.encode(texts, batch_size=FLOOR_BATCH, normalize_embeddings=True)

    try:
        await dense()
        _report_memory(report, name, memory_used(device) - before)
        dtype = torch_dtype("auto", torch_device(device))
        with quiet():
            library = SentenceTransformer(str(model), device=device, model_kwargs={"dtype": dtype})
        whole, each, alone = (tokens / taken for taken in await _by_turns(dense, by_token, floor))
    finally:
        embedder.close()
    report.add(f"{name}: embedded", whole, unit="tokens/s", floor=alone)
    report.add(f"{name}: embedded token by token", each, unit="tokens/s", floor=alone)


async def _rerank(report: Report, name: str, model: Path, device: str) -> None:
    from sentence_transformers import CrossEncoder

    chunks = make_chunks(_passages(SIZES[device].passages))
    requests = [(f"Which is {i}?", chunks[i : i + JUDGED]) for i in range(0, len(chunks), JUDGED)]
    pairs = [(question, chunk.text) for question, judged in requests for chunk in judged]
    before = memory_used(device)
    reranker = CrossEncoderReranker(str(model), library="sentence_transformers", device=device)

    async def caller(waiting: list[tuple[str, list[Chunk]]]) -> None:
        while waiting:
            question, judged = waiting.pop()
            await reranker.score(Query(text=question, scope=SCOPE), judged)

    async def ours() -> None:
        waiting = list(requests)
        await asyncio.gather(*(caller(waiting) for _ in range(CALLERS)))

    async def floor() -> None:
        library.predict(pairs, batch_size=FLOOR_BATCH)

    try:
        await ours()
        _report_memory(report, name, memory_used(device) - before)
        with quiet():
            library = CrossEncoder(str(model), device=device)
        together, alone = (len(pairs) / taken for taken in await _by_turns(ours, floor))
    finally:
        reranker.close()
    report.add(f"{name}: judged", together, unit="pairs/s", floor=alone)


async def _by_turns(*works: Callable[[], Awaitable[None]]) -> list[float]:
    """Median seconds of each, after a round that warms up."""
    taken: list[list[float]] = [[] for _ in works]
    for number in range(ROUNDS + 1):
        for work, seconds in zip(works, taken, strict=True):
            started = time.perf_counter()
            await work()
            if number:
                seconds.append(time.perf_counter() - started)
    return [p50(seconds) for seconds in taken]


def _report_memory(report: Report, name: str, used: float) -> None:
    if used:
        report.add(f"{name}: memory of the device", used / MIB, unit="MiB")


def _passages(count: int) -> list[str]:
    text = words()
    step = max(1, (len(text) - WINDOW) // count)
    return [" ".join(text[i * step : i * step + WINDOW]) for i in range(count)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--model", nargs="+", default=[], help="language models: folders or names")
    parser.add_argument("--device", choices=tuple(SIZES), default="cuda")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
