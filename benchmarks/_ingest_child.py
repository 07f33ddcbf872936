"""`python -m benchmarks._ingest_child WAY COUNT`: small documents, while its memory is watched.

Says when it is ready, begins when its standard input is closed. By the way `ingest` all is the
product's but the embedder; by the way `index` the same chunks go straight into the index.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ingest.chunkers.strategies import SectionChunker
from ingest.pipeline import IngestPipeline
from ingest.reader_process import Limits, Parser
from ingest.sources.files import Spool, load, submission_of
from rag.catalog.catalog import Catalog
from rag.catalog.sqlite_database import SqliteDatabase
from rag.text.passages import passage_text
from rag.types import DEFAULT_TENANT, Float32Array, Kind, Point, Scope
from retrieval.bm25 import Bm25Encoder
from retrieval.indexes.edge import EdgeIndex
from workers.local_queue import LocalQueue

DIM = 384
WORDS_A_CHUNK = 80
CHUNKS = 3
VOCABULARY = 20_000
MAX_BYTES = 1 << 20
SCOPE = Scope(tenant=DEFAULT_TENANT, collection="bench")


class NoiseEmbedder:
    """An `Embedder` whose vectors are random: writing them costs what real ones cost."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self.dim = DIM
        self.fingerprint = "noise"

    async def embed(self, texts: Sequence[str], *, kind: Kind) -> Float32Array:
        """Unit vectors in random directions."""
        rows = self._random.standard_normal((len(texts), DIM), np.float32)
        unit: Float32Array = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit


def main(way: str, count: int) -> None:
    """Writes the files, says so, waits, ingests."""
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder:
        files = _write(Path(folder) / "files", count)
        (Path(folder) / "data").mkdir()
        steps = {"ingest": _ingest, "index": _index}
        asyncio.run(steps[way](Path(folder) / "data", files))


def _write(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    random = np.random.default_rng(1)
    files = []
    for number in range(count):
        words = random.zipf(1.3, (CHUNKS, WORDS_A_CHUNK)) % VOCABULARY
        paragraphs = [" ".join(f"word{n}" for n in row) for row in words]
        file = folder / f"{number:06}.txt"
        file.write_text("\n\n".join(paragraphs), encoding="utf-8")
        files.append(file)
    return files


async def _ingest(data: Path, files: Sequence[Path]) -> None:
    catalog = Catalog(SqliteDatabase(data / "catalog.sqlite"))
    await catalog.open()
    index = EdgeIndex(data / "index", dim=DIM)
    parser = Parser(Limits(file=MAX_BYTES))
    pipeline = IngestPipeline(
        reader=parser,
        chunker=_chunker(),
        embedder=NoiseEmbedder(),
        encoder=Bm25Encoder(),
        index=index,
        catalog=catalog,
        spool=Spool(data / "spool"),
    )
    queue = LocalQueue(catalog=catalog, ingest=pipeline.ingest, maintain=index.maintain)
    await pipeline.check_collection(SCOPE)
    _wait_for_the_start()
    await catalog.jobs.submit(SCOPE, map(submission_of, files))
    await queue.drain()
    parser.close()
    await index.close()
    await catalog.close()


async def _index(data: Path, files: Sequence[Path]) -> None:
    index, chunker = EdgeIndex(data / "index", dim=DIM), _chunker()
    embedder, encoder = NoiseEmbedder(), Bm25Encoder()
    _wait_for_the_start()
    for path in files:
        submission = submission_of(path)
        document = load(
            submission.source,
            path,
            id_=submission.document_id,
            uri=submission.uri,
            max_bytes=MAX_BYTES,
        )
        chunks = chunker.chunk(document)
        texts = [passage_text(chunk) for chunk in chunks]
        dense = await embedder.embed(texts, kind="passage")
        parts = zip(chunks, dense, encoder.encode(texts), strict=True)
        await index.upsert(SCOPE, [Point(chunk=c, dense=d, sparse=s) for c, d, s in parts])
    await index.maintain(SCOPE)
    await index.close()


def _wait_for_the_start() -> None:
    print("ready", flush=True)
    sys.stdin.read()


def _chunker() -> SectionChunker:
    return SectionChunker(_count_words, max_tokens=WORDS_A_CHUNK)


def _count_words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
