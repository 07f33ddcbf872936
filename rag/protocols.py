"""The verbs. Each has a contract suite in tests/ that every implementation passes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

from rag.telemetry.trace import Trace
from rag.types import (
    Chunk,
    Delta,
    Document,
    Embedding,
    Float32Array,
    Hit,
    Kind,
    Leg,
    Match,
    Message,
    Piece,
    Point,
    Prompt,
    Query,
    Sampling,
    Scope,
    Span,
    SparseVector,
    TokenVectors,
)


class Reader(Protocol):
    """Bytes that lie somewhere → a document."""

    async def read(self, source: Mapping[str, Any], path: Path, *, id_: str, uri: str) -> Document:
        """Reads what a submission's `source` names, from where it lies.

        Raises:
            ReadError: the bytes cannot be read.
        """
        ...


class Chunker(Protocol):
    """Cuts a document into the spans that are searched for."""

    @property
    def fingerprint(self) -> str:
        """Names everything that decides the cuts: equal fingerprints, equal chunks."""

    def chunk(self, document: Document) -> list[Chunk]:
        """Chunks in text order, each an exact span of the text. An empty text has none."""


class Embedder(Protocol):
    """Turns texts into unit vectors."""

    @property
    def dim(self) -> int:
        """Length of each vector."""

    @property
    def fingerprint(self) -> str:
        """Names the weights: vectors of different fingerprints cannot be compared."""

    async def embed(self, texts: Sequence[str], *, kind: Kind) -> Float32Array:
        """float32[n, dim], unit norm, in input order. Texts past the model's window are cut."""


class TokenEmbedder(Protocol):
    """Turns texts into one unit vector per token: what late interaction compares."""

    async def embed_tokens(self, texts: Sequence[str], *, kind: Kind) -> list[TokenVectors]:
        """One `TokenVectors` for each text, in input order; texts past the window are cut."""


class PassageEmbedder(Protocol):
    """Turns passages into all that an index may keep of them."""

    async def embed_passages(self, texts: Sequence[str]) -> list[Embedding]:
        """One `Embedding` for each text, in input order; texts past the window are cut."""


class SparseEncoder(Protocol):
    """Turns texts into bags of terms."""

    def encode(self, texts: Sequence[str]) -> list[SparseVector]:
        """Term counts of each text, in input order; queries and passages share the same terms."""


class Index(Protocol):
    """Keeps points and ranks them. A scope that was never written to is empty, not an error."""

    async def upsert(self, scope: Scope, points: Sequence[Point]) -> None:
        """Writes points; one with a known chunk id replaces it."""

    async def delete(self, scope: Scope, chunk_ids: Sequence[str]) -> None:
        """Removes chunks, and their documents from the previous version; ignores unknown ids."""

    async def chunk_ids(self, scope: Scope, document_id: str | None) -> set[str]:
        """The ids of a document's chunks; with None, of all."""

    async def fetch(self, scope: Scope, chunk_ids: Sequence[str]) -> list[Chunk]:
        """The chunks with these ids, in the order asked for; unknown ids are left out."""

    async def vectors(self, scope: Scope, chunk_ids: Sequence[str]) -> dict[str, Float32Array]:
        """The float32[dim] dense vectors of these chunks, by id; unknown ids are left out."""

    async def max_sim(
        self, scope: Scope, question: Float32Array, chunk_ids: Sequence[str]
    ) -> dict[str, float]:
        """Late interaction of a question and these chunks, by id.

        Sums up over the rows of float32[tokens, dim], at least one, the best product with any of a
        chunk's stored token vectors. Chunks without are left out.
        """

    async def search(self, scope: Scope, legs: Sequence[Leg]) -> list[list[Match]]:
        """For each leg its matches, best first, ties by chunk id; one round trip for all legs."""

    async def idf(self, scope: Scope, terms: Sequence[int]) -> list[float]:
        """Inverse document frequency of each term id in the scope, as BM25 weighs it (>= 0)."""

    async def version(self, scope: Scope) -> str:
        """Names what is searched now, for traces: another after each switch, "" for none.

        No round trip for each question: where other processes switch, it may be seconds behind.
        """


class StoredIndex(Index, Protocol):
    """An index that outlives its process."""

    async def holds(self, scope: Scope) -> bool:
        """Whether the scope is there: False where all that was written to it got lost."""

    def pages(self, scope: Scope) -> AsyncIterator[list[Chunk]]:
        """All chunks, some at a time; those that are deleted or written meanwhile may be in it."""
        ...

    async def name_of(self, scope: Scope) -> str:
        """Names what a scope stands for now: a version keeps its name when it is switched to.

        "" where there is nothing. Asked anew each time, where other processes switch, too.
        """

    async def maintain(self, scope: Scope) -> None:
        """Brings what is computed from the points up to date; due after writing."""

    def erasing(self) -> AbstractAsyncContextManager[None]:
        """During the block, text of deleted and replaced chunks is removed from disk.

        How soon is the index's to say. What one process owes, the next one does.
        """

    async def begin_version(self, scope: Scope) -> Scope:
        """An empty version of a scope beside the one that is searched, as a scope of its own.

        One that was begun before and never switched to is removed.
        """

    async def previous_version(self, scope: Scope) -> Scope | None:
        """The version that was searched before the last switch, as a scope of its own."""

    async def switch_version(self, scope: Scope, version: Scope) -> None:
        """Makes a version the one that is searched, in one atomic step.

        What was searched becomes the previous version, and the one before that is removed.
        """

    async def close(self) -> None:
        """Lets go of files and connections, all that was written being stored."""


class Reranker(Protocol):
    """Judges passages by reading them along with the question."""

    async def score(self, query: Query, chunks: Sequence[Chunk]) -> Float32Array:
        """float32[chunks]: the higher the better, whatever else is judged along with a chunk.

        Raises:
            BusyError: more wait for the model than may.
            UpstreamError: the model failed.
        """


class SupportScorer(Protocol):
    """Says how well the sentences of a passage carry what an answer claims."""

    async def score(self, claim: str, chunk: Chunk, spans: Sequence[Span]) -> Float32Array:
        """float32[spans], 0 to 1: for each span of `chunk.text`, in text order.

        Raises:
            BusyError: more wait for the model than may.
            UpstreamError: the model failed.
        """
        ...


class ChatModel(Protocol):
    """A language model that continues a chat."""

    @property
    def name(self) -> str:
        """The model's, for messages and traces."""

    @property
    def context_tokens(self) -> int:
        """Tokens that prompt and answer may have together."""

    async def count_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of a prompt, the chat template's own included."""

    def stream(
        self, messages: Sequence[Message], *, sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """The text piece by piece, as it is generated; closing it ends the model's work.

        Raises:
            InputError: the model cannot take the prompt; it is longer than the model's context.
            BusyError: more wait for the model than may.
            UpstreamError: the model failed, or gave up half-way.
        """


class Generator(Protocol):
    """Writes an answer from passages."""

    def stream(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        """The answer piece by piece, with `[n]` markers that point into `prompt.hits`.

        Closing it ends the work.

        Raises:
            InputError: question and passages cannot be taken.
            BusyError: more wait than may.
            UpstreamError: it failed, or gave up half-way.
        """


class Queue(Protocol):
    """Where tasks go once they are in the catalog."""

    def wake(self) -> None:
        """Says that tasks were submitted."""

    async def drain(self) -> None:
        """Sees every task on its way.

        Raises:
            RagError: it cannot; what is not on its way stays pending.
        """

    def started(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Runs until the end of the block."""


class Retriever(Protocol):
    """Finds what answers a query."""

    async def retrieve(self, query: Query, trace: Trace) -> list[Hit]:
        """At most `top_k` hits, best first; what had to be left out goes to the trace."""
