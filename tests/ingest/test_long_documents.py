"""Long documents, and documents with one long part: the cost is linear in their length."""

from __future__ import annotations

import json
import os
import re
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import psutil
import pytest
from tokenizers import Tokenizer

from ingest.chunkers.headings import HEADER_CHARS, PATH_CHARS
from ingest.chunkers.strategies import RecursiveChunker, SectionChunker
from ingest.chunkers.token_budget import WINDOW_CHARS
from ingest.pipeline import IngestPipeline
from ingest.reader_process import Limits, Parser
from ingest.readers.registry import read
from ingest.sources.files import Spool
from rag.catalog.catalog import Catalog
from rag.catalog.sqlite_database import SqliteDatabase
from rag.protocols import Chunker
from rag.records import JobRecord
from rag.types import Chunk, Document, Float32Array, Heading, Kind, Scope
from retrieval.bm25 import Bm25Encoder
from retrieval.embedders.loading import minilm_folder
from retrieval.indexes.edge import EdgeIndex
from tests.fakes import HashEmbedder

_COUNT = HashEmbedder().count_tokens
_PROSE = "Whoever reads a long book seldom minds that it is long, if only the next page is good. "


def text_of(text: str, *, name: str = "book.txt") -> Document:
    return read(text.encode(), id="d", uri="file:///book", name=name)


def peak_mib(chunker: Chunker, document: Document) -> float:
    tracemalloc.start()
    try:
        chunks = chunker.chunk(document)
        return (tracemalloc.get_traced_memory()[1] - _kept(chunks)) / 2**20
    finally:
        tracemalloc.stop()


def _kept(chunks: list[Chunk]) -> int:
    """Returns the bytes still allocated after chunking: the memory of the chunks."""
    return tracemalloc.get_traced_memory()[0] if chunks else 0


_KINDS = {
    "words without a full stop": "word other ",
    "short lines": "ab\n",
    "tiny sentences": "Ab. ",
    "one word": "abcdefghij",
}


@pytest.mark.parametrize("kind", [SectionChunker, RecursiveChunker])
@pytest.mark.parametrize("repeated", _KINDS.values(), ids=_KINDS)
def test_tokens_are_counted_of_a_bounded_part_of_a_text(
    kind: type[SectionChunker | RecursiveChunker], repeated: str
) -> None:
    asked: list[int] = []

    def count(texts: Sequence[str]) -> list[int]:
        asked.append(sum(map(len, texts)))
        return _COUNT(texts)

    text = repeated * (2 * WINDOW_CHARS // len(repeated))
    assert kind(count).chunk(text_of(text))
    assert max(asked) <= WINDOW_CHARS + len(repeated)


@pytest.mark.parametrize("chunker", [SectionChunker(_COUNT), RecursiveChunker(_COUNT)])
def test_what_cutting_takes_does_not_grow_with_the_text(chunker: Chunker) -> None:
    assert peak_mib(chunker, text_of("word other " * (2 * WINDOW_CHARS // 11))) < 12


def test_pieces_without_a_token_are_not_repeated() -> None:
    text = "```\n" * 4000
    for chunker in (SectionChunker(_COUNT), RecursiveChunker(_COUNT)):
        assert sum(len(chunk.text) for chunk in chunker.chunk(text_of(text))) <= len(text)


def test_a_text_of_many_windows_is_cut_whole_and_like_a_short_one() -> None:
    paragraph = _PROSE * 3
    text = "\n\n".join([paragraph] * (2 * WINDOW_CHARS // len(paragraph)))
    chunker = SectionChunker(_COUNT)
    chunks = chunker.chunk(text_of(text))
    assert "".join("".join(c.text for c in chunks).split()) == "".join(text.split())
    assert all(text[c.start : c.end] == c.text for c in chunks)
    assert {c.text for c in chunks[:-1]} == {
        c.text for c in chunker.chunk(text_of(text[:9000]))[:-1]
    }


@pytest.mark.parametrize("wide", [3000, 200])
def test_a_chunk_of_a_wide_table_has_the_names_of_its_own_columns(wide: int) -> None:
    rows = [[f"name{n}" for n in range(wide)]]
    rows += [[f"v{row}x{n}" for n in range(wide)] for row in range(3)]
    document = text_of("\n".join(map(",".join, rows)), name="wide.csv")
    below = [c for c in SectionChunker(_COUNT, max_tokens=20).chunk(document) if "x" in c.text]
    assert {c.end - c.start for c in below} < set(range(HEADER_CHARS))
    for chunk in below:
        columns = sorted({int(n) for n in re.findall(r"v\d+x(\d+)", chunk.text)})
        assert chunk.headings == (" | ".join(f"name{n}" for n in columns),)


def test_empty_cells_of_a_wide_table_have_no_names() -> None:
    wide = 500
    values = ["", "here"] * (wide // 2)
    rows = [[f"name{n}" for n in range(wide)], values, ["full"] * wide]
    document = text_of("\n".join(map(",".join, rows)), name="wide.csv")
    below = [c for c in SectionChunker(_COUNT, max_tokens=20).chunk(document) if "here" in c.text]
    named = [int(n) for c in below for h in c.headings for n in re.findall(r"name(\d+)", h)]
    assert named[: wide // 2] == list(range(1, wide, 2))


def test_headings_and_headers_are_bounded_in_each_chunk() -> None:
    title = "long " * 1000
    headings = tuple(
        Heading(start=n * 10, level=n + 1, text=f"{n} {'deep' * 30}") for n in range(9)
    )
    deep = replace(text_of("some text " * 10), headings=headings)
    [*_, last] = SectionChunker(_COUNT).chunk(deep)
    assert last.headings[-1] == headings[-1].text
    assert last.headings == tuple(h.text for h in headings[-len(last.headings) :])
    table = text_of("\n".join(f"{'cell' * 900}{n},b" for n in range(5)), name="wide.csv")
    whole = text_of(f"# {title}\n\nBody.\n", name="book.md")
    for document in (deep, table, whole):
        for chunk in SectionChunker(_COUNT).chunk(document):
            assert sum(map(len, chunk.headings)) <= PATH_CHARS + HEADER_CHARS


def tokenizer_count(texts: Sequence[str]) -> list[int]:
    """Counts tokens by the default encoder's tokenizer, whose results take the most memory."""
    return [len(e.ids) for e in _tokenizer().encode_batch(list(texts), add_special_tokens=False)]


@cache
def _tokenizer() -> Tokenizer:
    made = Tokenizer.from_file(str(minilm_folder() / "tokenizer.json"))
    made.no_padding()
    made.no_truncation()
    return made


class FlatEmbedder:
    """`Embedder` without cost: all texts have the same vector."""

    dim = 8
    fingerprint = "flat"

    async def embed(self, texts: Sequence[str], *, kind: Kind) -> Float32Array:
        return np.full((len(texts), self.dim), self.dim**-0.5, np.float32)


async def ingested(folder: Path, text: str) -> tuple[JobRecord, float, float]:
    """Returns the job and the growth of peak memory, in MiB, of this and the reader process."""
    before = set(psutil.Process().children())
    scope = Scope(tenant="t", collection="c")
    catalog = Catalog(SqliteDatabase(folder / "catalog.sqlite"))
    await catalog.open()
    index = EdgeIndex(folder / "index", dim=FlatEmbedder.dim)
    parser = Parser(Limits())
    spool = Spool(folder / "spool")
    pipeline = IngestPipeline(
        reader=parser,
        chunker=SectionChunker(tokenizer_count),
        embedder=FlatEmbedder(),
        encoder=Bm25Encoder(),
        index=index,
        catalog=catalog,
        spool=spool,
    )

    async def ingest(text: str) -> JobRecord:
        body = json.dumps({"text": text}).encode()
        job = await catalog.jobs.submit(
            scope, [spool.of(scope.tenant).put(body, uri="urn:long", document_id_="long")]
        )
        [task] = await catalog.tasks.claim(1)
        await pipeline.ingest(task)
        return await catalog.jobs.get(scope.tenant, job)

    try:
        await pipeline.check_collection(scope)
        await ingest("All that is loaded with the first document is loaded now.")
        [child] = set(psutil.Process().children()) - before
        ours, theirs = watch(os.getpid()), watch(child.pid)
        record = await ingest(text)
        return record, peak(os.getpid()) - ours, peak(child.pid) - theirs
    finally:
        parser.close()
        await index.close()
        await catalog.close()


def watch(pid: int) -> float:
    """Resets the peak memory of a process; returns its memory in MiB."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak(pid)


def peak(pid: int) -> float:
    """Returns the peak memory of a process since `watch`, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@pytest.mark.anyio
@pytest.mark.usefixtures("new_interpreters")
async def test_half_a_megabyte_of_text_takes_little_memory(tmp_path: Path) -> None:
    record, ours, theirs = await ingested(tmp_path, "word other " * 50_000)
    assert record.state == "succeeded", record.failures
    assert ours < 100
    assert theirs < 100


@pytest.mark.attack
@pytest.mark.anyio
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("repeated", "chars"),
    [(_PROSE, 67_000_000), (f"{_PROSE * 5}\n\n", 66_000_000), ("abcdefghij", 20_000_000)],
    ids=["64 MiB in one line", "64 MiB in paragraphs", "20 MB without spaces"],
)
async def test_the_longest_documents_take_less_than_a_gibibyte(
    tmp_path: Path, repeated: str, chars: int
) -> None:
    record, ours, theirs = await ingested(tmp_path, repeated * (chars // len(repeated)))
    assert record.state == "succeeded", record.failures
    assert max(ours, theirs) < 1024
