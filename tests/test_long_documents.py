"""Documents that are long, or long in one way: what they cost grows with their length alone."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace

import pytest

from ingest.above import HEADER_CHARS, PATH_CHARS
from ingest.chunkers import RecursiveChunker, SectionChunker
from ingest.pieces import WINDOW_CHARS
from ingest.readers import read
from rag.protocols import Chunker
from rag.types import Chunk, Document, Heading
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
    """Bytes that are left when all is done, in the chunks."""
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
    assert peak_mib(chunker, text_of("word other " * (4 * WINDOW_CHARS // 11))) < 20


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
