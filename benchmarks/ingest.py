"""Documents a second through the whole ingest path, and the memory it takes.

Measured: from the files' submission until the queue is drained and the index tidied: the catalog,
the readers, the chunker, the embedder, BM25 terms, the index on disk. The floor is
`SentenceTransformer.encode` alone on exactly the chunks that came out, in torch's faster dtype,
with its default threads, sorted by length in batches of 32 as that library does by default: the
one cost that cannot be left out. Both take turns, three rounds each; medians count.

Memory is what the process grows by while it ingests N, 2 N and 4 N documents of three chunks, files
that the index maps left out, for the kernel may drop those. Its floor is a process in which the
same chunks go straight into the index, which keeps what it searches by in memory: what lies above
it is the ingestion's, and must not grow. Both are processes of their own, with an embedder that
makes noise instead of vectors: only so do thousands of documents fit into a minute, and an
encoder's memory does not depend on how many there are. The C library gets one arena
(`MALLOC_ARENA_MAX`): with one for each thread it keeps a share of what was given back, which is up
to 15 MiB more in another run of the same work.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from benchmarks._common import (
    EXAMPLES,
    Report,
    SkippedError,
    Target,
    data_folder,
    ingest,
    p50,
    temporary_service,
)
from eval.datasets.corpus import read_corpus
from ingest.sources.files import find, submission_of
from rag.text.passages import passage_text

ROUNDS = 3
EVERY = 4
DOCUMENTS = (1_500, 3_000, 6_000)
SAMPLE_SECONDS = 0.02
MIB = 1 << 20
MEMORY_NOISE = 5.0
"""MiB by which two equal runs may differ: the allocator's doing."""

Encode = Callable[[Sequence[str]], object]


def run() -> Report:
    """Speed on two sorts of documents, then memory."""
    report = Report()
    encode = sentence_transformer()
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder:
        speed(report, "ingest examples/peps", examples(), encode, _ingest)
        try:
            speed(report, "ingest squad2-dev-a", paragraphs(Path(folder)), encode, _ingest)
        except SkippedError as missing:
            report.notes.append(f"squad2-dev-a skipped: {missing}")
    _memory(report)
    return report


def speed(
    report: Report,
    name: str,
    files: Sequence[Path],
    encode: Encode,
    load: Callable[[Sequence[Path]], Coroutine[Any, Any, tuple[float, list[str]]]],
) -> None:
    """Documents a second by `load`, which says how long it took and what was embedded."""
    ours, alone = [], []
    for _ in range(ROUNDS):
        seconds, texts = asyncio.run(load(files))
        ours.append(seconds)
        started = time.perf_counter()
        encode(texts)
        alone.append(time.perf_counter() - started)
    report.add(
        name,
        len(files) / p50(ours),
        unit="documents/s",
        floor=len(files) / p50(alone),
        target=Target(bound=2.0, by="ratio", at_least=True),
    )
    report.notes.append(
        f"{name}: {len(files)} documents, {len(texts)} chunks, {sum(map(len, texts)) >> 10} KiB"
    )


def _memory(report: Report) -> None:
    above = []
    for count in DOCUMENTS:
        ingested, alone = (
            p50([_growth(way, count) for _ in range(ROUNDS)]) for way in ("ingest", "index")
        )
        above.append(ingested - alone)
        report.add(f"memory, {count:,} documents", ingested, unit="MiB", floor=alone)
    report.add(
        f"memory over the index, {DOCUMENTS[-1]:,} documents against {DOCUMENTS[0]:,}",
        above[-1],
        unit="MiB",
        floor=above[0],
        target=Target(bound=MEMORY_NOISE, by="difference"),
    )


async def _ingest(files: Sequence[Path]) -> tuple[float, list[str]]:
    """Seconds, and what was embedded."""
    async with temporary_service() as (service, queue):
        started = time.perf_counter()
        submissions = [submission_of(path) for path in files]
        scope = await ingest(service, queue, submissions, collection="bench")
        seconds = time.perf_counter() - started
        ids = sorted(await service.index.chunk_ids(scope, None))
        return seconds, [passage_text(c) for c in await service.index.fetch(scope, ids)]


def sentence_transformer() -> Encode:
    """The floor: `SentenceTransformer.encode` on the default model, on the product's device."""
    from sentence_transformers import SentenceTransformer

    from retrieval.embedders.bert_model import torch_device, torch_dtype
    from retrieval.embedders.loading import minilm_folder

    device = torch_device(None)
    model = SentenceTransformer(
        str(minilm_folder()),
        device=str(device),
        model_kwargs={"dtype": torch_dtype("auto", device)},
    )
    model.encode(["warm up"])

    def encode(texts: Sequence[str]) -> object:
        return model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)

    return encode


def examples() -> list[Path]:
    """Every fourth of the shipped documents: long ones, 60 chunks each."""
    return list(find([str(EXAMPLES)]))[::EVERY]


def paragraphs(folder: Path) -> list[Path]:
    """The passages of a test set as text files."""
    files = []
    for number, passage in enumerate(read_corpus(data_folder("squad2-dev-a")).passages):
        file = folder / f"{number:05}.txt"
        file.write_text(f"{passage.title}\n\n{passage.text}\n", encoding="utf-8")
        files.append(file)
    return files


def _growth(way: str, documents: int) -> float:
    """Peak MiB of its own over what a child held before it took in this many documents."""
    command = [sys.executable, "-m", "benchmarks._ingest_child", way, str(documents)]
    env = os.environ | {"MALLOC_ARENA_MAX": "1"}
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        if child.stdin is None or child.stdout is None:
            raise RuntimeError("the child has no pipes")
        try:
            child.stdout.readline()  # it is ready
            before = peak = _held(child.pid)
            child.stdin.close()  # it may begin
            while child.poll() is None:
                peak = max(peak, _held(child.pid))
                time.sleep(SAMPLE_SECONDS)
        finally:
            child.kill()
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}")
    return (peak - before) / MIB


def _held(pid: int) -> int:
    """Bytes that a process of ours holds and no file backs; zero where it has ended."""
    import psutil

    try:
        memory = psutil.Process(pid).memory_info()
    except psutil.NoSuchProcess:
        return 0
    return memory.rss - memory.shared  # type: ignore[no-any-return]
