"""Splits a document into chunks: the spans that are embedded, searched for and cited."""

from __future__ import annotations

import hashlib
import uuid
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from operator import attrgetter

from ingest.chunkers.headings import Above, table_at
from ingest.chunkers.token_budget import (
    Budget,
    CountTokens,
    Cut,
    Piece,
    line_spans,
    stretch_spans,
    windows,
    word_spans,
)
from rag.text.blocks import begins_item, block_spans, code_spans, paragraph_spans
from rag.text.lists import leads_in
from rag.text.sentences import sentence_spans
from rag.types import Chunk, Document, Span

_CHUNK_IDS = uuid.UUID("6f9a1c52-3d0e-5b57-9a44-0c8e5d7b21f3")
# Less than 1/8 of the budget is too little text to be found; joining it may overrun by 12 %.
_SMALL = 1 / 8
_OVERRUN = 1.12


class SectionChunker:
    """Packs whole paragraphs and blocks of code of one section up to a budget of tokens.

    One over the budget is divided into list items, lines of code and rows of tables, these into
    sentences, these into words; its chunks hold nothing else, except a small lead-in. A chunk never
    crosses a heading, and contains none: headings are in `Chunk.headings`, and after them the
    header of the table in which the chunk begins. Only a single word may be longer than the budget,
    and a chunk joined with a small tail, by 12 %.
    """

    def __init__(
        self, count_tokens: CountTokens, *, max_tokens: int = 112, overlap: int = 0
    ) -> None:
        """Make a chunker; a chunk repeats pieces of the one before up to `overlap` tokens."""
        self._budget = Budget(count_tokens=count_tokens, max_tokens=max_tokens, overlap=overlap)

    @property
    def fingerprint(self) -> str:
        """Identifies the algorithm and the budget."""
        return f"section-5:{self._budget}"

    def chunk(self, document: Document) -> list[Chunk]:
        """Returns chunks in text order, each an exact span of the text. An empty text has none.

        1. body: the text between furniture and headings, in paragraphs and blocks of code
        2. pieces: what is over the budget divided, level by level
        3. packs: neighbours put together, but never across an edge
        4. chunks: packs with their headings, page and id
        """
        text = document.text
        pieces = self._runs(self._budget.measure(text, _body(document)), _sections(document))
        for cut in (block_spans, sentence_spans, word_spans):
            pieces = self._budget.divide(text, pieces, cut)
        packs = (
            pack
            for _, run in groupby(pieces, key=attrgetter("run"))
            for pack in self._join_tail(self._budget.pack(run))
        )
        return _chunks(document, packs)

    def _runs(self, pieces: Iterable[Piece], sections: Sequence[int]) -> Iterator[Piece]:
        """Yields the pieces, each with the number of its run: packing begins anew with each run.

        A run begins at a section, and at both ends of a piece that will be divided. The text that
        leads in to such a piece is in its run if it is as small as a tail that is joined.
        """
        run = 0
        for _, section in groupby(pieces, key=lambda piece: bisect_right(sections, piece.start)):
            run += 1
            lead = 0
            for piece in section:
                if piece.cost <= self._budget.max_tokens:
                    yield piece._replace(run=run)
                    lead += piece.cost
                    continue
                if lead >= self._budget.max_tokens * _SMALL:
                    run += 1
                yield piece._replace(run=run)
                run += 1
                lead = 0

    def _join_tail(self, packs: Iterable[list[Piece]]) -> Iterator[list[Piece]]:
        """Yields the packs, the last one joined to the one before if it is small."""
        before: list[Piece] = []
        last: list[Piece] = []
        for pack in packs:
            if before:
                yield before
            before, last = last, pack
        tail = [piece for piece in last if before and piece.start >= before[-1].end]
        cost, budget = sum(piece.cost for piece in tail), self._budget.max_tokens
        joined = cost + sum(piece.cost for piece in before)
        if before and cost < budget * _SMALL and joined <= budget * _OVERRUN:
            yield [*before, *tail]
            return
        yield from filter(None, (before, last))


class RecursiveChunker:
    """Splits a text at blank lines, long parts at line ends, then at sentences, then at words.

    The parts are put together again up to the budget. Only the text counts: headings, tables, code
    and furniture are text like any other.
    """

    def __init__(
        self, count_tokens: CountTokens, *, max_tokens: int = 200, overlap: int = 0
    ) -> None:
        """Make a chunker; a chunk repeats pieces of the one before up to `overlap` tokens."""
        self._budget = Budget(count_tokens=count_tokens, max_tokens=max_tokens, overlap=overlap)

    @property
    def fingerprint(self) -> str:
        """Identifies the algorithm and the budget."""
        return f"recursive-3:{self._budget}"

    def chunk(self, document: Document) -> list[Chunk]:
        """Returns chunks in text order, each an exact span of the text. An empty text has none."""
        text = document.text
        stretches = (
            Piece(begin + start, begin + end)
            for begin, stop in windows(0, len(text), text)
            for start, end in stretch_spans(text[begin:stop])
        )
        return _chunks(document, self._split(text, self._budget.measure(text, stretches)))

    def _split(
        self,
        text: str,
        pieces: Iterable[Piece],
        cuts: Sequence[Cut] = (line_spans, sentence_spans, word_spans),
    ) -> Iterator[list[Piece]]:
        """Yields packs of the pieces; a piece over the budget is split and packed separately."""
        for large, run in groupby(pieces, key=lambda piece: piece.cost > self._budget.max_tokens):
            if large and cuts:
                for piece in run:
                    parts = self._budget.divide(text, [piece], cuts[0])
                    yield from self._split(text, parts, cuts[1:])
            else:
                yield from self._budget.pack(run)


def rehome(chunks: Sequence[Chunk], *, document_id: str, uri: str) -> list[Chunk]:
    """Returns all chunks of a document, in any order, as those of another with the same bytes."""
    ordered = sorted(chunks, key=attrgetter("position"))
    next_id = _ChunkIds(document_id)
    return [
        replace(chunk, id=next_id(chunk.headings, chunk.text), document_id=document_id, uri=uri)
        for chunk in ordered
    ]


def _body(document: Document) -> Iterator[Piece]:
    """Yields the text between furniture, headings and tables, in paragraphs and blocks of code.

    A first line keeps its indentation here, which distinguishes code from prose.
    """
    tables = [edge for table in document.tables for edge in (table.start, table.end)]
    outside = [edge for span in document.furniture for edge in span]
    inside = [start for start, _ in document.furniture]
    edges = {0, len(document.text), *_sections(document), *tables, *outside}
    for start, end in pairwise(sorted(edges)):
        before = bisect_right(inside, start) - 1
        if before >= 0 and start < document.furniture[before][1]:
            continue
        rows = table_at(document, start) is not None
        for begin, stop in windows(start, end, document.text):
            for first, last, code in _units(document.text[begin:stop]):
                yield Piece(begin + first, begin + last, by_lines=rows or code)


def _sections(document: Document) -> list[int]:
    """Returns the starts of sections; section n is below the nth heading, 0 above the first."""
    return [heading.start for heading in document.headings]


def _units(text: str) -> Iterator[tuple[int, int, bool]]:
    """Yields paragraphs and whole blocks of code as (start, end, is code)."""
    at = 0
    for start, end in [*code_spans(text), (len(text), len(text))]:
        for first, last in _with_lead_ins(text[at:start]):
            yield at + first, at + last, False
        if end > start:
            yield start, end, True
        at = end


def _with_lead_ins(text: str) -> Iterator[Span]:
    """Yields paragraphs; one that leads in to a list is one with the list."""
    before: Span | None = None
    for start, end in paragraph_spans(text):
        if before and leads_in(text, before) and begins_item(text[start:end]):
            before = (before[0], end)
            continue
        if before:
            yield before
        before = (start, end)
    if before:
        yield before


def _chunks(document: Document, packs: Iterable[Sequence[Piece]]) -> list[Chunk]:
    above = Above(document)
    next_id = _ChunkIds(document.id)
    chunks: list[Chunk] = []
    for pack in packs:
        whole = document.text[pack[0].start : pack[-1].end]
        text = whole.strip()
        start = pack[0].start + len(whole) - len(whole.lstrip())
        headings = above.of(start, start + len(text))
        chunks.append(
            Chunk(
                id=next_id(headings, text),
                document_id=document.id,
                version=document.version,
                position=len(chunks),
                text=text,
                start=start,
                end=start + len(text),
                title=document.title,
                uri=document.uri,
                page=bisect_right(document.pages, start) if document.pages else None,
                page_starts=_page_starts(document, start, start + len(text)),
                headings=headings,
                meta=document.meta,
            )
        )
    return chunks


def _page_starts(document: Document, start: int, end: int) -> tuple[int, ...]:
    """Returns where pages begin after `start` and before `end`."""
    pages = document.pages
    return tuple(pages[bisect_right(pages, start) : bisect_left(pages, end)])


class _ChunkIds:
    """Makes the ids of a document's chunks in text order, from their numbered content."""

    def __init__(self, document_id: str) -> None:
        self._document_id = document_id
        self._seen: Counter[bytes] = Counter()

    def __call__(self, headings: tuple[str, ...], text: str) -> str:
        digest = hashlib.sha256("\0".join((*headings, text)).encode())
        number = self._seen[digest.digest()]
        self._seen[digest.digest()] += 1
        name = f"{self._document_id}\0{digest.hexdigest()}\0{number}"
        return str(uuid.uuid5(_CHUNK_IDS, name))
