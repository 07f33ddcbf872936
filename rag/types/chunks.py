"""Documents, their chunks and vectors."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from rag.types.acl import KEY, USER, Readers

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Span = tuple[int, int]
# Texts: most commands have no vectors, and to import NumPy takes as long as to read the catalog.
Float32Array: TypeAlias = "npt.NDArray[np.float32]"
Floats: TypeAlias = "npt.NDArray[np.float64]"
Float16Array: TypeAlias = "npt.NDArray[np.float16]"
Kind = Literal["query", "passage"]
Scalar = str | int | float | bool
MetaValue = Scalar | tuple[Scalar, ...]
Meta = Mapping[str, MetaValue]
State = Literal["pending", "running", "succeeded", "failed", "cancelled", "skipped", "partial"]
"""Only jobs are "partial", and only documents "skipped": nothing here can read them."""
Stage = Literal["parse", "embed"]
"""Stages of ingestion: "parse" turns bytes into text, "embed" writes the text to the index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """A tenant and one of its collections, and the words of the caller who reads it.

    Every index call takes one. A catalog call takes one or the tenant, or says that it serves all.
    Calls that read documents return those whose ACL has one of the words in `readers`; with None,
    all. Calls that write take the `whole` scope.
    """

    tenant: str
    collection: str
    readers: Readers | None = None

    @property
    def whole(self) -> Scope:
        """The scope without readers: the key of locks, and of caches that serve all callers."""
        return self if self.readers is None else replace(self, readers=None)

    @property
    def reader(self) -> str | None:
        """The word of the caller's own user or key; None if the caller has neither."""
        own = (word for word in self.readers or () if word.startswith((USER, KEY)))
        return next(own, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """A heading at character `start` of a document's text; level 1 is the outermost."""

    start: int
    level: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table in a text, one line per row; the line at `start` is the `header`."""

    start: int
    end: int
    header: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file within a document's bytes; it becomes a document of its own.

    `meta` is metadata about the document that it came with.
    """

    name: str
    data: bytes
    meta: Meta = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The text and structure that a reader extracted from a document's bytes.

    `version` is the sha256 of the bytes, in hex. `pages` holds the character offset at which each
    page starts (sheets and slides count as pages); it is empty if the format has no pages.
    `headings` and `tables` are in text order; only tables that have a header row are listed.
    `furniture` holds the (start, end) spans that are not body text, such as a header block or
    heading lines with their adornment, in text order and without overlap; a chunker that follows
    the structure leaves them out. `attachments` are no part of the text.
    """

    id: str
    version: str
    uri: str
    media_type: str
    title: str
    text: str
    pages: tuple[int, ...] = ()
    headings: tuple[Heading, ...] = ()
    tables: tuple[Table, ...] = ()
    furniture: tuple[tuple[int, int], ...] = ()
    meta: Meta = field(default_factory=dict)
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A span of a document: `document.text[start:end] == text`, always.

    `headings` is the path of headings above it, outermost first. `page`, from 1, is the one that it
    begins on; `page_starts` are the places in the document's text, ascending, where further pages
    begin within it. `title`, `uri` and `meta` are copied from the document, so that a hit needs no
    second look-up.
    """

    id: str
    document_id: str
    version: str
    position: int
    text: str
    start: int
    end: int
    title: str
    uri: str
    page: int | None = None
    page_starts: tuple[int, ...] = ()
    headings: tuple[str, ...] = ()
    meta: Meta = field(default_factory=dict)

    def page_at(self, place: int) -> int | None:
        """Returns the page of a place in the document's text, which is within the chunk."""
        return None if self.page is None else self.page + bisect_right(self.page_starts, place)


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseVector:
    """A bag of terms: int32[nnz] term ids, ascending, and float32[nnz] values."""

    indices: npt.NDArray[np.int32]
    values: Float32Array


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenVectors:
    """The token vectors of a text: float32[tokens, dim] with unit rows, without special tokens.

    `spans` is int32[tokens, 2]: the characters of the text that each token stands for.
    """

    vectors: Float32Array
    spans: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """The vector of a text and its token vectors, both from one forward pass.

    `dense` is float32[dim] of unit norm, `tokens` float16[tokens, dim] with unit rows, without
    special tokens.
    """

    dense: Float32Array
    tokens: Float16Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """An entry of an index: a chunk, its float32[dim] unit vector and its term counts.

    If both vectors are None, the index keeps the stored ones and rewrites the chunk alone: an
    edit earlier in the text moves a chunk's span without changing the embedded text. `tokens`, as
    in `Embedding` and never empty, is optional beside the vectors; a chunk that is replaced
    without it has no token vectors.
    """

    chunk: Chunk
    dense: Float32Array | None = None
    sparse: SparseVector | None = None
    tokens: Float16Array | None = None
    acl: Readers = frozenset()
