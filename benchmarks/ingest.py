"""Documents a second through the whole ingest path, and the memory it takes.

Measured: from the files' submission until the queue is drained and the index tidied: the catalog,
the readers, the chunker, the embedder, BM25 terms, the index on disk. The floor is
`SentenceTransformer.encode` alone on exactly the chunks that came out, in the embedder's own dtype,
with torch's default threads, sorted by length in batches of 32 as that library does by default: the
one cost that cannot be left out. Both take turns, three rounds each; medians count.

Memory is what the process grows by while it ingests N, 2 N and 4 N documents of three chunks, in a
process of its own and with an embedder that makes noise instead of vectors: only so do thousands of
documents fit into a minute, and an encoder's memory does not depend on how many there are.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

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
from eval.corpus import read_corpus
from ingest.chunkers import embedding_text
from ingest.sources import find, submission_of

ROUNDS = 3
DOCUMENTS = (2_000, 4_000, 8_000)
SAMPLE_SECONDS = 0.02
MIB = 1 << 20

Encode = Callable[[Sequence[str]], object]


def run() -> Report:
    """Speed on two sorts of documents, then memory."""
    report = Report()
    encode = _sentence_transformer()
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder:
        _speed(report, "examples/peps", list(find([str(EXAMPLES)])), encode)
        try:
            _speed(report, "squad2-dev-a", _paragraphs(Path(folder)), encode)
        except SkippedError as missing:
            report.notes.append(f"squad2-dev-a skipped: {missing}")
    growth = {count: _growth(count) for count in DOCUMENTS}
    for count, (rss, _) in growth.items():
        largest = count == DOCUMENTS[-1]
        report.add(
            f"memory, {count:,} documents",
            rss,
            unit="MiB",
            floor=growth[DOCUMENTS[0]][0],
            target=Target(bound=1.25, by="ratio") if largest else None,
        )
    anonymous = ", ".join(f"{own:.0f} MiB at {count:,}" for count, (_, own) in growth.items())
    report.notes.append(
        f"of that the process's own, without the index's mapped files: {anonymous}; the floor is"
        f" {DOCUMENTS[0]:,} documents; fake embedder"
    )
    return report


def _speed(report: Report, name: str, files: Sequence[Path], encode: Encode) -> None:
    ours, alone = [], []
    for _ in range(ROUNDS):
        seconds, texts = asyncio.run(_ingest(files))
        ours.append(seconds)
        started = time.perf_counter()
        encode(texts)
        alone.append(time.perf_counter() - started)
    report.add(
        f"ingest {name}",
        len(files) / p50(ours),
        unit="documents/s",
        floor=len(files) / p50(alone),
        target=Target(bound=0.85, by="ratio", at_least=True),
    )
    report.notes.append(
        f"{name}: {len(files)} documents, {len(texts)} chunks, {sum(map(len, texts)) >> 10} KiB"
    )


async def _ingest(files: Sequence[Path]) -> tuple[float, list[str]]:
    """Seconds, and what was embedded."""
    async with temporary_service() as (service, queue):
        started = time.perf_counter()
        submissions = [submission_of(path) for path in files]
        scope = await ingest(service, queue, submissions, collection="bench")
        seconds = time.perf_counter() - started
        ids = sorted(await service.index.chunk_ids(scope, None))
        return seconds, [embedding_text(c) for c in await service.index.fetch(scope, ids)]


def _sentence_transformer() -> Encode:
    import torch
    from sentence_transformers import SentenceTransformer

    from retrieval.embedders import _torch_dtype, minilm_folder

    threads = torch.get_num_threads()
    model = SentenceTransformer(
        str(minilm_folder()), device="cpu", model_kwargs={"dtype": _torch_dtype("auto")}
    )
    model.encode(["warm up"])

    def encode(texts: Sequence[str]) -> object:
        torch.set_num_threads(threads)  # the product's embedder sets its own
        return model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)

    return encode


def _paragraphs(folder: Path) -> list[Path]:
    """The passages of a test set as text files."""
    files = []
    for number, passage in enumerate(read_corpus(data_folder("squad2-dev-a")).passages):
        file = folder / f"{number:05}.txt"
        file.write_text(f"{passage.title}\n\n{passage.text}\n", encoding="utf-8")
        files.append(file)
    return files


def _growth(documents: int) -> tuple[float, float]:
    """Peak MiB over what the process held before: resident, and of it not mapped from files."""
    import psutil

    command = [sys.executable, "-m", "benchmarks._ingest_child", str(documents)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        if child.stdin is None or child.stdout is None:
            raise RuntimeError("the child has no pipes")
        try:
            child.stdout.readline()  # it is ready
            process = psutil.Process(child.pid)
            before = process.memory_info()
            child.stdin.close()  # it may begin
            rss, own = 0, 0
            while child.poll() is None:
                try:
                    now = process.memory_info()
                except psutil.NoSuchProcess:
                    break
                rss = max(rss, now.rss - before.rss)
                own = max(own, (now.rss - now.shared) - (before.rss - before.shared))
                time.sleep(SAMPLE_SECONDS)
        finally:
            child.kill()
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}")
    return rss / MIB, own / MIB
