"""Sentences of documents that a question can be asked about."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from random import Random

from ingest.chunkers.strategies import SectionChunker
from rag.text.sentences import sentence_spans
from rag.types import Chunk, Document

SHORTEST, LONGEST = 50, 400
"""Characters of a sentence: a shorter one says little, a longer one is a list or no sentence."""
LETTERS = 0.75
"""Share of letters and spaces from which a sentence is prose, not code or a table."""
SECTION_TOKENS = 200
_STOPS = (".", "!", "?", "。", "！", "？", "｡")  # noqa: RUF001 - in their own scripts
_CLOSING = "\"'”’»)]」』）】*_`"  # noqa: RUF001
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """Characters `start` to `end` of a document's text: a sentence.

    `passage` is the text around it, `above` the title and the headings above it.
    """

    document_id: str
    start: int
    end: int
    text: str
    passage: str
    above: tuple[str, ...]

    def overlaps(self, chunk: Chunk) -> bool:
        """True if the chunk contains a part of it."""
        same = chunk.document_id == self.document_id
        return same and chunk.start < self.end and self.start < chunk.end


def draw_excerpts(documents: Sequence[Document], *, seed: int) -> Iterator[Excerpt]:
    """Yields sentences of prose, one of each document in turn, in an order that the seed decides.

    They do not depend on the configured chunker. A sentence that occurs twice is left out: it would
    be unclear which of the two is meant.
    """
    found = [list(_excerpts(document)) for document in documents]
    occurrences = Counter(folded(excerpt.text) for excerpts in found for excerpt in excerpts)
    for document, excerpts in zip(documents, found, strict=True):
        Random(f"{seed} {document.id}").shuffle(excerpts)  # noqa: S311 - it guards no secret
    Random(seed).shuffle(found)  # noqa: S311
    for turn in zip_longest(*found):
        yield from (
            excerpt for excerpt in turn if excerpt and occurrences[folded(excerpt.text)] == 1
        )


def folded(text: str) -> str:
    """Returns the words in lower case, separated by single spaces, without punctuation."""
    return " ".join(_WORD.findall(text.lower()))


def section_chunks(document: Document) -> list[Chunk]:
    """Returns the document's chunks of up to `SECTION_TOKENS` words, each within a section."""
    return SectionChunker(_count_words, max_tokens=SECTION_TOKENS).chunk(document)


def _excerpts(document: Document) -> Iterator[Excerpt]:
    for chunk in section_chunks(document):
        for start, end in sentence_spans(chunk.text):
            if _is_prose(chunk.text[start:end]):
                yield Excerpt(
                    document_id=document.id,
                    start=chunk.start + start,
                    end=chunk.start + end,
                    text=chunk.text[start:end],
                    passage=chunk.text,
                    above=tuple(filter(None, (document.title, *chunk.headings))),
                )


def _is_prose(text: str) -> bool:
    letters = sum(c.isalpha() or c.isspace() for c in text)
    return (
        SHORTEST <= len(text) <= LONGEST
        and text[0].isalpha()
        and not text[0].islower()
        and text.rstrip(_CLOSING).endswith(_STOPS)
        and letters >= LETTERS * len(text)
    )


def _count_words(texts: Sequence[str]) -> list[int]:
    return [len(_WORD.findall(text)) for text in texts]
