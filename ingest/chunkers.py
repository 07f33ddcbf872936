"""A document → chunks: sections packed into spans that fit the embedder's window."""

from __future__ import annotations

import hashlib
import re
import uuid
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from operator import attrgetter

from rag.sentences import Span, block_spans, paragraph_spans, sentence_spans
from rag.types import Chunk, Document

CountTokens = Callable[[Sequence[str]], list[int]]
"""Token counts of texts, in input order. Counts add up where a text is cut at white space."""

_CHUNK_IDS = uuid.UUID("6f9a1c52-3d0e-5b57-9a44-0c8e5d7b21f3")
# A tail below 1/8 of the budget says too little to be found; joining it may overrun by 12 %.
_SMALL_TAIL = 1 / 8
_OVERRUN = 1.12
# Tokenizers count a word they give up on (base64, a data URI) as one token. No prose has tokens
# this long, so characters are counted as well.
_LONGEST_TOKEN = 20
_WORD = re.compile(r"\S{1,64}")
# Counts of these tell tokenizers apart.
_PROBE = ("Tokenizers disagree about internationalization,", "naïve 3.14159", "東京 _is_code(x)")


@dataclass(frozen=True, slots=True)
class _Piece:
    """A span that is not divided further, its cost in tokens, and the section it stands in."""

    start: int
    end: int
    cost: int
    section: int


class SectionChunker:
    """Packs whole paragraphs of one section up to a budget of tokens.

    A paragraph over the budget is divided into list items and lines of code, these into
    sentences, these into words. A chunk never crosses a heading, and holds none: headings are in
    `Chunk.headings`, and below them the header of the table that the chunk begins within. Only a
    single word may be longer than the budget, and the last chunk of a section by 12 %, where a
    small tail joined it.
    """

    def __init__(self, count_tokens: CountTokens, *, max_tokens: int = 112) -> None:
        self._count_tokens = count_tokens
        self._max_tokens = max_tokens

    @property
    def fingerprint(self) -> str:
        """The algorithm, the budget, and how the tokenizer counts a few telling words."""
        probe = "-".join(map(str, self._count_tokens(_PROBE)))
        return f"section-2:{self._max_tokens}:{probe}"

    def chunk(self, document: Document) -> list[Chunk]:
        """Chunks in text order, each an exact span of the text. An empty text has none.

        1. body: the text between furniture and headings, in paragraphs
        2. pieces: what is over the budget divided, level by level
        3. spans: pieces packed together, section by section
        4. chunks: spans with their headings, page and id
        """
        text = document.text
        pieces = self._measure(text, list(_body(document)))
        for divide in (block_spans, sentence_spans, _word_spans):
            pieces = self._divide(text, pieces, divide)
        spans = [
            (section, span)
            for section, group in groupby(pieces, key=attrgetter("section"))
            for span in self._pack(list(group))
        ]
        return _chunks(document, spans)

    def _measure(self, text: str, spans: Sequence[tuple[int, int, int]]) -> list[_Piece]:
        """Pieces of (start, end, section) spans; the tokens of all are counted in one call."""
        counts = self._count_tokens([text[start:end] for start, end, _ in spans]) if spans else []
        return [
            _Piece(start, end, max(count, (end - start) // _LONGEST_TOKEN), section)
            for (start, end, section), count in zip(spans, counts, strict=True)
        ]

    def _divide(
        self, text: str, pieces: list[_Piece], divide: Callable[[str], list[Span]]
    ) -> list[_Piece]:
        """The pieces with those over the budget replaced by their parts."""
        large = [piece for piece in pieces if piece.cost > self._max_tokens]
        if not large:
            return pieces
        parts = self._measure(
            text,
            [
                (piece.start + start, piece.start + end, piece.section)
                for piece in large
                for start, end in divide(text[piece.start : piece.end])
            ],
        )
        whole = [piece for piece in pieces if piece.cost <= self._max_tokens]
        return sorted([*whole, *parts], key=attrgetter("start"))

    def _pack(self, pieces: list[_Piece]) -> list[Span]:
        """Spans of one section's pieces, filled greedily."""
        packs: list[tuple[int, int, int]] = []
        for piece in pieces:
            start, _, cost = packs[-1] if packs else (piece.start, 0, 0)
            wide = piece.end - start > self._max_tokens * _LONGEST_TOKEN
            if packs and not wide and cost + piece.cost <= self._max_tokens:
                packs[-1] = (start, piece.end, cost + piece.cost)
            else:
                packs.append((piece.start, piece.end, piece.cost))
        if len(packs) > 1:
            (start, _, before), (_, end, tail) = packs[-2:]
            small = tail < self._max_tokens * _SMALL_TAIL
            if small and before + tail <= self._max_tokens * _OVERRUN:
                packs[-2:] = [(start, end, before + tail)]
        return [(start, end) for start, end, _ in packs]


def embedding_text(chunk: Chunk) -> str:
    """What is embedded and encoded: title, path of headings, text; one below the other."""
    return "\n".join(filter(None, (chunk.title, " > ".join(chunk.headings), chunk.text)))


def rehome(chunks: Sequence[Chunk], *, document_id: str, uri: str) -> list[Chunk]:
    """All chunks of a document, in any order, as those of another one with the same bytes."""
    ordered = sorted(chunks, key=attrgetter("position"))
    ids = _chunk_ids(document_id, ((chunk.headings, chunk.text) for chunk in ordered))
    return [
        replace(chunk, id=id_, document_id=document_id, uri=uri)
        for id_, chunk in zip(ids, ordered, strict=True)
    ]


def _body(document: Document) -> Iterator[tuple[int, int, int]]:
    """Paragraphs as (start, end, section); section n is below the nth heading, 0 above the first.

    A first line keeps its indentation here, which tells code from prose.
    """
    text = document.text
    headings = [heading.start for heading in document.headings]
    cuts = {0, len(text), *headings}
    outside = {edge for span in document.furniture for edge in span}
    inside = [start for start, _ in document.furniture]
    for start, end in pairwise(sorted(cuts | outside)):
        before = bisect_right(inside, start) - 1
        if before >= 0 and start < document.furniture[before][1]:
            continue
        section = bisect_right(headings, start)
        for first, last in paragraph_spans(text[start:end]):
            yield start + first, start + last, section


def _word_spans(text: str) -> list[Span]:
    return [found.span() for found in _WORD.finditer(text)]


def _chunks(document: Document, spans: Sequence[tuple[int, Span]]) -> list[Chunk]:
    paths = _paths(document)
    texts = [document.text[start:end].strip() for _, (start, end) in spans]
    starts = [
        document.text.index(text, at) for text, (_, (at, _)) in zip(texts, spans, strict=True)
    ]
    headings = [
        paths[section] + _table_header(document, start)
        for (section, _), start in zip(spans, starts, strict=True)
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
    before = bisect_left(document.tables, start, key=attrgetter("start")) - 1
    if before < 0 or start >= document.tables[before].end:
        return ()
    return (document.tables[before].header,)


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
