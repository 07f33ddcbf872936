"""Hits expanded to their section, as a generator reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.chunkers.strategies import SectionChunker
from rag.build.running import start
from rag.catalog.catalog import Catalog
from rag.catalog.documents import Documents
from rag.settings.tree import load_settings
from rag.telemetry.trace import Trace
from rag.types import DEFAULT_TENANT, Chunk, Document, Heading, Hit, Query, Scope
from retrieval.context_window import SectionReader
from tests.fakes import MemoryIndex, make_points

pytestmark = pytest.mark.anyio

SCOPE = Scope(tenant="acme", collection="handbook")
PARAGRAPH = 40


def paragraph(n: int) -> str:
    return f"Paragraph {n:02} says " + "x" * (PARAGRAPH - 20) + "."


def document(*sections: int, id_: str = "doc", pages: tuple[int, ...] = ()) -> Document:
    """Returns sections of these numbers of paragraphs; a paragraph is a chunk of 40 characters."""
    text, headings, furniture, n = "", [], [], 0
    for number, count in enumerate(sections):
        title = f"Section {number}"
        headings.append(Heading(start=len(text), level=1, text=title))
        furniture.append((len(text), len(text) + len(title)))
        text += f"{title}\n\n"
        for _ in range(count):
            text += paragraph(n) + "\n\n"
            n += 1
    return Document(
        id=id_, version="1", uri=f"file:{id_}", media_type="text/plain", title="T", text=text,
        headings=tuple(headings), furniture=tuple(furniture), pages=pages,
    )  # fmt: skip


class Texts(Documents):
    """A store that has only the documents' texts."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.texts = texts

    async def text(self, scope: Scope, document_id: str) -> str:
        return self.texts.get(document_id, "")


class TextCatalog(Catalog):
    """A catalog that has only texts."""

    def __init__(self, known: Sequence[Document]) -> None:
        self.texts = {document.id: document.text for document in known}
        self.documents = Texts(self.texts)


class Library:
    """Chunked and indexed documents."""

    def __init__(self, *documents: Document) -> None:
        self.index = MemoryIndex()
        self.catalog = TextCatalog(documents)
        chunker = SectionChunker(lambda texts: [len(text) for text in texts], max_tokens=PARAGRAPH)
        self.chunks = {document.id: chunker.chunk(document) for document in documents}

    async def read(self, *found: Chunk, chars: int) -> list[Hit]:
        await self.index.upsert(SCOPE, make_points(c for cs in self.chunks.values() for c in cs))
        hits = [
            Hit(chunk=chunk, score=1 / rank, source="fused", ranks={"dense": rank})
            for rank, chunk in enumerate(found, start=1)
        ]
        reader = SectionReader(index=self.index, catalog=self.catalog, chars=chars)
        passages = await reader.read(SCOPE, hits)
        for passage in passages:
            chunk = passage.chunk
            text = self.catalog.texts.get(chunk.document_id, "")
            assert text[chunk.start : chunk.end] == chunk.text or chunk in found
        return passages


def numbers(passage: Hit) -> list[int]:
    """Returns the numbers of the paragraphs in a passage."""
    return [int(word) for word in passage.chunk.text.split() if word.isdigit()]


async def test_a_hit_grows_into_its_section_and_not_beyond() -> None:
    library = Library(document(3, 4, 3))
    (passage,) = await library.read(library.chunks["doc"][5], chars=10_000)
    assert numbers(passage) == [3, 4, 5, 6]
    assert passage.chunk.headings == ("Section 1",)
    assert passage.chunk.id == library.chunks["doc"][5].id
    assert passage.ranks == {"dense": 1}


async def test_hits_of_one_section_become_one_passage_in_text_order() -> None:
    library = Library(document(4, 4))
    chunks = library.chunks["doc"]
    passages = await library.read(chunks[3], chunks[6], chunks[0], chars=10_000)
    assert [numbers(passage) for passage in passages] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [passage.chunk.id for passage in passages] == [chunks[3].id, chunks[6].id]


async def test_the_budget_is_held_and_the_nearest_come_first() -> None:
    library = Library(document(9, 9))
    chunks = library.chunks["doc"]
    passages = await library.read(chunks[4], chunks[12], chars=5 * (PARAGRAPH + 2))
    assert [numbers(passage) for passage in passages] == [[3, 4, 5], [12, 13]]


async def test_hits_alone_over_the_budget_are_neither_cut_nor_widened() -> None:
    library = Library(document(9))
    chunks = library.chunks["doc"]
    passages = await library.read(chunks[4], chunks[7], chars=1)
    assert [passage.chunk for passage in passages] == [chunks[4], chunks[7]]


async def test_a_passage_stays_on_its_page() -> None:
    whole = document(6)
    split = whole.text.index(paragraph(3))
    library = Library(document(6, pages=(0, split)))
    (passage,) = await library.read(library.chunks["doc"][4], chars=10_000)
    assert numbers(passage) == [3, 4, 5]
    assert passage.chunk.page == 2


async def test_passages_of_several_documents_keep_the_order_of_their_best_hits() -> None:
    library = Library(document(2, id_="a"), document(2, id_="b"))
    a, b = library.chunks["a"], library.chunks["b"]
    passages = await library.read(b[1], a[0], b[0], a[1], chars=10_000)
    assert [passage.chunk.document_id for passage in passages] == ["b", "a"]
    assert [numbers(passage) for passage in passages] == [[0, 1], [0, 1]]


async def test_hits_of_a_document_deleted_meanwhile_stay_as_they_are() -> None:
    library = Library(document(3, id_="gone"), document(3, id_="kept"))
    gone, kept = library.chunks.pop("gone"), library.chunks["kept"]
    del library.catalog.texts["gone"]
    passages = await library.read(gone[1], kept[1], chars=10_000)
    assert passages[0].chunk == gone[1]
    assert numbers(passages[1]) == [0, 1, 2]


async def test_hits_of_a_document_whose_text_changed_meanwhile_stay_as_they_are() -> None:
    library = Library(document(3))
    library.catalog.texts["doc"] = "New first line.\n\n" + library.catalog.texts["doc"]
    hit = library.chunks["doc"][1]
    (passage,) = await library.read(hit, chars=10_000)
    assert passage.chunk == hit


@settings(max_examples=50)
@given(
    sections=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    picked=st.lists(st.integers(0, 100), min_size=1, max_size=8, unique=True),
    chars=st.integers(0, 800),
)
async def test_passages_hold_every_hit_once_within_the_budget(
    sections: list[int], picked: list[int], chars: int
) -> None:
    library = Library(document(*sections))
    chunks = library.chunks["doc"]
    found = [chunks[at] for at in dict.fromkeys(n % len(chunks) for n in picked)]
    passages = await library.read(*found, chars=chars)
    held = [n for passage in passages for n in numbers(passage)]
    assert len(held) == len(set(held))
    assert {chunk.position for chunk in found} <= set(held)
    hits = sum(len(chunk.text) for chunk in found)
    if len(held) > len(found):
        assert hits < sum(len(passage.chunk.text) for passage in passages) <= chars
    else:
        assert sum(len(passage.chunk.text) for passage in passages) <= hits + 2 * len(found)


async def test_an_answer_from_widened_hits_cites_exact_spans(folder: Path) -> None:
    filler = " ".join(["The gardens were laid out long ago and are open to all."] * 8)
    text = f"{filler}\n\nThe old lighthouse was built in 1887.\n\n{filler}"
    options = load_settings(data_dir=folder, retrieval={"context_chars": 4000})
    async with start(options) as (service, queue):
        scope = Scope(tenant=DEFAULT_TENANT, collection="c")
        await service.ingest.check_collection(scope)
        body = json.dumps({"text": text}).encode()
        sent = service.spool.of(scope.tenant).put(
            body, uri="doc:1", document_id_="1", title="Guide"
        )
        await service.catalog.jobs.submit(scope, [sent])
        await queue.drain()
        trace = Trace()
        query = Query(text="When was the old lighthouse built?", scope=scope)
        answer = await service.query.answer(query, trace)
    assert "widen" in trace.timings
    assert len(answer.hits) > 1
    assert answer.citations
    for citation in answer.citations:
        assert citation.marker == 1  # all of it is one section: one passage
        assert text[citation.start : citation.end] == citation.quote
