"""A document → chunks: the spans that are embedded, searched for and cited."""

from __future__ import annotations

import hashlib
import uuid
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from operator import attrgetter

from ingest.pieces import Budget, CountTokens, Piece, line_spans, stretch_spans, word_spans
from rag.sentences import Span, block_spans, code_spans, paragraph_spans, sentence_spans
from rag.types import Chunk, Document, Table

_CHUNK_IDS = uuid.UUID("6f9a1c52-3d0e-5b57-9a44-0c8e5d7b21f3")
# Less than 1/8 of the budget says too little to be found; joining such a tail may overrun by 12 %.
_SMALL = 1 / 8
_OVERRUN = 1.12


class SectionChunker:
    """Packs whole paragraphs and blocks of code of one section up to a budget of tokens.

    One over the budget is divided into list items, lines of code and rows of tables, these into
    sentences, these into words; but for a small lead-in its chunks hold nothing else. A chunk
    never crosses a heading, and holds none: headings are in `Chunk.headings`, and below them the
    header of the table that the chunk begins within. Only a single word may be longer than the
    budget, and a chunk that a small tail joined, by 12 %.
    """

    def __init__(
        self, count_tokens: CountTokens, *, max_tokens: int = 112, overlap: int = 0
    ) -> None:
        """Make a chunker; a chunk repeats pieces of the one before up to `overlap` tokens."""
        self._budget = Budget(count_tokens=count_tokens, max_tokens=max_tokens, overlap=overlap)

    @property
    def fingerprint(self) -> str:
        """The algorithm and the budget."""
        return f"section-3:{self._budget}"

    def chunk(self, document: Document) -> list[Chunk]:
        """Chunks in text order, each an exact span of the text. An empty text has none.

        1. body: the text between furniture and headings, in paragraphs and blocks of code
        2. pieces: what is over the budget divided, level by level
        3. packs: neighbours put together, but never across an edge
        4. chunks: packs with their headings, page and id
        """
        text = document.text
        pieces = self._budget.measure(text, _body(document))
        edges = list(self._edges(pieces, _sections(document)))
        for cut in (block_spans, sentence_spans, word_spans):
            pieces = self._divide(text, pieces, cut)
        packs = [
            pack
            for _, run in groupby(pieces, key=lambda piece: bisect_right(edges, piece.start))
            for pack in self._join_tail(self._budget.pack(run))
        ]
        return _chunks(document, packs)

    def _edges(self, pieces: Sequence[Piece], sections: list[int]) -> Iterator[int]:
        """Where packing begins anew: at a section, and at both ends of what will be divided.

        What leads in to it goes with it where that is as small as a tail that is joined.
        """
        for section, run in groupby(pieces, key=lambda piece: bisect_right(sections, piece.start)):
            yield sections[section - 1] if section else 0
            lead = 0
            for piece in run:
                if piece.cost <= self._budget.max_tokens:
                    lead += piece.cost
                    continue
                if lead >= self._budget.max_tokens * _SMALL:
                    yield piece.start
                yield piece.end
                lead = 0

    def _divide(
        self, text: str, pieces: list[Piece], cut: Callable[[str], list[Span]]
    ) -> list[Piece]:
        """The pieces with those over the budget replaced by their parts."""
        whole = [piece for piece in pieces if piece.cost <= self._budget.max_tokens]
        large = [piece for piece in pieces if piece.cost > self._budget.max_tokens]
        parts = self._budget.divide(text, large, cut)
        return sorted([*whole, *parts], key=attrgetter("start"))

    def _join_tail(self, packs: list[list[Piece]]) -> list[list[Piece]]:
        """The packs, the last one joined to the one before where it is small."""
        if len(packs) > 1:
            *others, before, last = packs
            tail = [piece for piece in last if piece.start >= before[-1].end]
            cost, budget = sum(piece.cost for piece in tail), self._budget.max_tokens
            joined = cost + sum(piece.cost for piece in before)
            if cost < budget * _SMALL and joined <= budget * _OVERRUN:
                return [*others, [*before, *tail]]
        return packs


class RecursiveChunker:
    """Splits a text at blank lines, what is too long at line ends, then at sentences, then words.

    What a part was split into is put together again up to the budget. The text alone counts:
    headings, tables, code and furniture are text like any other.
    """

    def __init__(
        self, count_tokens: CountTokens, *, max_tokens: int = 200, overlap: int = 0
    ) -> None:
        """Make a chunker; a chunk repeats pieces of the one before up to `overlap` tokens."""
        self._budget = Budget(count_tokens=count_tokens, max_tokens=max_tokens, overlap=overlap)

    @property
    def fingerprint(self) -> str:
        """The algorithm and the budget."""
        return f"recursive-1:{self._budget}"

    def chunk(self, document: Document) -> list[Chunk]:
        """Chunks in text order, each an exact span of the text. An empty text has none."""
        cuts = (stretch_spans, line_spans, sentence_spans, word_spans)
        whole = Piece(0, len(document.text))
        return _chunks(document, list(self._split(document.text, whole, cuts)))

    def _split(
        self, text: str, piece: Piece, cuts: Sequence[Callable[[str], list[Span]]]
    ) -> Iterator[list[Piece]]:
        """Packs of a piece's parts; a part over the budget is split in its turn, on its own."""
        parts = self._budget.divide(text, [piece], cuts[0])
        for large, run in groupby(parts, key=lambda part: part.cost > self._budget.max_tokens):
            if large and cuts[1:]:
                for part in run:
                    yield from self._split(text, part, cuts[1:])
            else:
                yield from self._budget.pack(run)


def rehome(chunks: Sequence[Chunk], *, document_id: str, uri: str) -> list[Chunk]:
    """All chunks of a document, in any order, as those of another one with the same bytes."""
    ordered = sorted(chunks, key=attrgetter("position"))
    ids = _chunk_ids(document_id, ((chunk.headings, chunk.text) for chunk in ordered))
    return [
        replace(chunk, id=id_, document_id=document_id, uri=uri)
        for id_, chunk in zip(ids, ordered, strict=True)
    ]


def _body(document: Document) -> Iterator[Piece]:
    """The text between furniture, headings and tables, in paragraphs and blocks of code.

    A first line keeps its indentation here, which tells code from prose.
    """
    tables = [edge for table in document.tables for edge in (table.start, table.end)]
    outside = [edge for span in document.furniture for edge in span]
    inside = [start for start, _ in document.furniture]
    edges = {0, len(document.text), *_sections(document), *tables, *outside}
    for start, end in pairwise(sorted(edges)):
        before = bisect_right(inside, start) - 1
        if before >= 0 and start < document.furniture[before][1]:
            continue
        rows = _table_at(document, start) is not None
        for first, last, code in _units(document.text[start:end]):
            yield Piece(start + first, start + last, by_lines=rows or code)


def _sections(document: Document) -> list[int]:
    """Where they begin; section n is below the nth heading, 0 above the first."""
    return [heading.start for heading in document.headings]


def _units(text: str) -> Iterator[tuple[int, int, bool]]:
    """Paragraphs and whole blocks of code as (start, end, is code)."""
    at = 0
    for start, end in [*code_spans(text), (len(text), len(text))]:
        for first, last in paragraph_spans(text[at:start]):
            yield at + first, at + last, False
        if end > start:
            yield start, end, True
        at = end


def _chunks(document: Document, packs: Sequence[Sequence[Piece]]) -> list[Chunk]:
    bounds = [(pack[0].start, pack[-1].end) for pack in packs]
    texts = [document.text[start:end].strip() for start, end in bounds]
    starts = [document.text.index(text, at) for text, (at, _) in zip(texts, bounds, strict=True)]
    paths = _paths(document)
    sections = _sections(document)
    headings = [
        paths[bisect_right(sections, start)] + _table_header(document, start) for start in starts
    ]
    ids = _chunk_ids(document.id, zip(headings, texts, strict=True))
    return [
        Chunk(
            id=id_,
            document_id=document.id,
            version=document.version,
            position=position,
            text=text,
            start=start,
            end=start + len(text),
            title=document.title,
            uri=document.uri,
            page=bisect_right(document.pages, start) if document.pages else None,
            headings=path,
            meta=document.meta,
        )
        for position, (id_, text, start, path) in enumerate(
            zip(ids, texts, starts, headings, strict=True)
        )
    ]


def _table_header(document: Document, start: int) -> tuple[str, ...]:
    """The header of the table that a chunk begins within: it goes below the headings."""
    table = _table_at(document, start)
    return (table.header,) if table and table.start < start else ()


def _table_at(document: Document, at: int) -> Table | None:
    """The table with the character at an offset."""
    before = bisect_right(document.tables, at, key=attrgetter("start")) - 1
    table = document.tables[before] if before >= 0 else None
    return table if table and at < table.end else None


def _chunk_ids(document_id: str, contents: Iterable[tuple[tuple[str, ...], str]]) -> Iterator[str]:
    """Ids of a document's (headings, text) in text order: equal content, numbered, equal ids."""
    seen: Counter[str] = Counter()
    for headings, text in contents:
        digest = hashlib.sha256("\0".join((*headings, text)).encode()).hexdigest()
        yield str(uuid.uuid5(_CHUNK_IDS, f"{document_id}\0{digest}\0{seen[digest]}"))
        seen[digest] += 1


def _paths(document: Document) -> list[tuple[str, ...]]:
    """The path of headings of each section, without a top one that repeats the title."""
    paths: list[tuple[str, ...]] = [()]
    open_headings: list[tuple[int, str]] = []
    for heading in document.headings:
        while open_headings and open_headings[-1][0] >= heading.level:
            open_headings.pop()
        open_headings.append((heading.level, heading.text))
        path = tuple(text for _, text in open_headings)
        paths.append(path[1:] if path[0] == document.title else path)
    return paths
