"""The interfaces; CONTRIBUTING.md says where their contract suites are."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

from rag.errors import UpstreamError
from rag.telemetry.trace import Trace
from rag.types import (
    Chunk,
    Delta,
    Document,
    Embedding,
    Float32Array,
    Kind,
    Leg,
    Match,
    Message,
    Piece,
    Point,
    Principal,
    Prompt,
    Query,
    Retrieved,
    Sampling,
    Scope,
    Span,
    SparseVector,
    TokenVectors,
)
from rag.types.acl import Readers


class Authenticator(Protocol):
    """Recognizes callers by what they send: an API key, or a token of an issuer."""

    async def authenticate(self, credential: str) -> Principal:
        """Returns the caller whose credential it is, of any tenant.

        Raises:
            UnauthenticatedError: The credential is not valid, or no longer.
            UpstreamError: It cannot be checked now.
        """
        ...


class Reader(Protocol):
    """Turns stored bytes into a document."""

    async def read(self, source: Mapping[str, Any], path: Path, *, id_: str, uri: str) -> Document:
        """Reads the file at `path`, which holds the bytes that a submission's `source` names.

        The document has the id and the uri given. A reader that fetches a `source` writes the file.

        Raises:
            ReadError: The bytes cannot be read or fetched.
            UpstreamError: They cannot be fetched or read now; a later attempt may succeed.
            StorageError: The disk is full.
        """
        ...


class Chunker(Protocol):
    """Cuts a document into the spans that are searched for."""

    @property
    def fingerprint(self) -> str:
        """Identifies everything that decides the cuts: equal fingerprints give equal chunks."""

    def chunk(self, document: Document) -> list[Chunk]:
        """Returns the chunks in text order, each an exact span; none for an empty text."""


class Embedder(Protocol):
    """Turns texts into unit vectors."""

    @property
    def dim(self) -> int:
        """Length of each vector."""

    @property
    def fingerprint(self) -> str:
        """Identifies the weights: vectors of different fingerprints cannot be compared."""

    async def embed(self, texts: Sequence[str], *, kind: Kind) -> Float32Array:
        """Returns float32[n, dim] of unit norm, in input order; texts past the window are cut."""


class VectorCache(Protocol):
    """Keeps the vectors of a tenant's texts."""

    async def embed(
        self, embedder: Embedder, texts: Sequence[str], *, kind: Kind, tenant: str
    ) -> tuple[Float32Array, UpstreamError | None]:
        """Returns the vectors of texts as the embedder does, and what failed of the cache."""
        ...


class TokenEmbedder(Protocol):
    """Turns texts into one unit vector per token, for late interaction."""

    async def embed_tokens(self, texts: Sequence[str], *, kind: Kind) -> list[TokenVectors]:
        """Returns a `TokenVectors` per text, in input order; texts past the window are cut."""


class PassageEmbedder(Protocol):
    """Turns passages into the vectors that an index may store."""

    async def embed_passages(self, texts: Sequence[str]) -> list[Embedding]:
        """Returns one `Embedding` per text, in input order; texts past the window are cut."""


class SparseEncoder(Protocol):
    """Turns texts into bags of terms."""

    @property
    def fingerprint(self) -> str:
        """Identifies everything that decides the terms: equal fingerprints give equal bags."""

    def encode(self, texts: Sequence[str]) -> list[SparseVector]:
        """Returns the term counts of each text, in input order.

        Queries and passages share the same terms.
        """


class ScoreCache(Protocol):
    """Keeps the scores of a tenant's passages."""

    async def score(
        self, reranker: Reranker, query: Query, chunks: Sequence[Chunk]
    ) -> tuple[Float32Array, UpstreamError | None]:
        """Returns the scores of chunks as the reranker does, and what failed of the cache."""
        ...


class Index(Protocol):
    """Stores points and ranks them. A scope that was never written to is empty, not an error.

    For a scope with readers, a chunk that they may not read is as one that does not exist: it is
    left out before anything is ranked or counted. Writes take the whole scope.
    """

    async def upsert(self, scope: Scope, points: Sequence[Point]) -> None:
        """Writes points; one with a known chunk id replaces it.

        A point without vectors keeps the stored ones, and is ignored if its id is unknown.
        """

    async def delete(self, scope: Scope, chunk_ids: Sequence[str]) -> None:
        """Removes chunks, and their documents from the previous version; ignores unknown ids."""

    async def chunk_ids(self, scope: Scope, document_id: str | None) -> set[str]:
        """Returns the ids of a document's chunks; with None, those of all documents."""

    async def fetch(self, scope: Scope, chunk_ids: Sequence[str]) -> list[Chunk]:
        """Returns the chunks with these ids, in the given order; unknown ids are left out."""

    async def search(self, scope: Scope, legs: Sequence[Leg]) -> list[list[Match]]:
        """Returns each leg's matches, best first, ties by chunk id; one round trip for all legs."""


class PermittedIndex(Index, Protocol):
    """An index whose reads return only what the readers of a scope may read."""

    async def set_acl(self, scope: Scope, document_id: str, acl: Readers) -> None:
        """Replaces the ACL of a document's chunks, in every version; no vector is computed."""

    async def remove(self, scope: Scope) -> None:
        """Removes all chunks of a scope, in every version; a repeated call finishes an earlier."""


class StoredVectors(Protocol):
    """The vectors of an index's chunks: dense, of tokens, and sparse."""

    async def vectors(self, scope: Scope, chunk_ids: Sequence[str]) -> dict[str, Float32Array]:
        """Returns the float32[dim] dense vectors of chunks, by id; unknown ids are left out."""

    async def max_sim(
        self, scope: Scope, question: Float32Array, chunk_ids: Sequence[str]
    ) -> dict[str, float]:
        """Returns the late-interaction score of a question with each of these chunks, by id.

        `question` is float32[tokens, dim] with at least one row. The score is the sum, over its
        rows, of the highest product with any of the chunk's stored token vectors. Chunks without
        token vectors are left out.
        """

    async def idf(self, scope: Scope, terms: Sequence[int]) -> list[float]:
        """Returns each term's inverse document frequency in the scope, as in BM25 (>= 0)."""


Resting = Callable[[Path], AbstractAsyncContextManager[None]]
"""Takes the folder of a collection; in its block no file of that changes."""


class MovableIndex(Protocol):
    """An index whose content can be copied to another one, or file by file."""

    def points(self, scope: Scope) -> AsyncIterator[list[Point]]:
        """Yields all points of a scope with their vectors and ACLs, in batches."""
        ...

    def still(self) -> AbstractAsyncContextManager[Resting]:
        """During the block writes wait, and searches go on.

        The files of one collection after the other come to rest in blocks of what it yields. A
        server's files are its own: there neither block stops anything.
        """


class VersionedIndex(Index, Protocol):
    """An index that fills a new version of a scope beside the searched one, and switches to it."""

    async def version(self, scope: Scope) -> str:
        """Returns the name of the searched version, for traces; "" if there is none.

        The name changes with each switch. It does not cost a round trip for each question: if
        another process switches, the name may be seconds out of date.
        """

    async def name_of(self, scope: Scope) -> str:
        """Returns the name of the scope's current version; "" if there is none.

        A version keeps its name when it is switched to. If other processes may switch, too, the
        name is read anew each time.
        """

    async def begin_version(self, scope: Scope) -> Scope:
        """Creates an empty version beside the searched version of a scope; returns its scope.

        A version that was begun before and never switched to is removed.
        """

    async def previous_version(self, scope: Scope) -> Scope | None:
        """Returns the scope of the version that was searched before the last switch."""

    async def switch_version(self, scope: Scope, version: Scope) -> None:
        """Makes a version the searched one, in one atomic step.

        The version searched until then becomes the previous one, and the one before it is removed.
        """


class PersistentIndex(Index, Protocol):
    """An index that outlives its process."""

    async def holds(self, scope: Scope) -> bool:
        """Returns True if the scope exists; False if everything written to it was lost."""

    def pages(self, scope: Scope) -> AsyncIterator[list[Chunk]]:
        """Yields all chunks in batches; chunks deleted or written meanwhile may be included."""
        ...

    async def maintain(self, scope: Scope) -> None:
        """Updates everything computed from the points; to be called after writing."""

    def erasing(self) -> AbstractAsyncContextManager[None]:
        """Removes the text of deleted and replaced chunks from disk during the block.

        The index decides how soon. A removal that one process leaves undone is done by the next.
        """

    async def close(self) -> None:
        """Closes files and connections; everything that was written is stored."""


class StoredIndex(
    PersistentIndex, VersionedIndex, PermittedIndex, StoredVectors, MovableIndex, Protocol
):
    """The index of a service: everything that ingestion, questions and reindexing need of one."""


class Reranker(Protocol):
    """Scores passages by reading each together with the question."""

    async def score(self, query: Query, chunks: Sequence[Chunk]) -> Float32Array:
        """Returns float32[chunks], higher is better; a score does not depend on other chunks.

        Raises:
            BusyError: The queue of the model is full.
            UpstreamError: The model failed.
        """


class SupportScorer(Protocol):
    """Scores how well the sentences of a passage support a claim of an answer."""

    async def score(self, claim: str, chunk: Chunk, spans: Sequence[Span]) -> Float32Array:
        """Returns float32[spans], 0 to 1: a score for each span of `chunk.text`, in text order.

        Raises:
            BusyError: The queue of the model is full.
            UpstreamError: The model failed.
        """
        ...


class ChatModel(Protocol):
    """A language model that continues a chat."""

    @property
    def name(self) -> str:
        """The model's name, for messages and traces."""

    @property
    def context_tokens(self) -> int:
        """The maximum number of tokens of prompt and answer together."""

    async def count_tokens(self, messages: Sequence[Message]) -> int:
        """Returns the number of tokens of a prompt, including those of the chat template."""

    def stream(
        self, messages: Sequence[Message], *, sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """Yields the text in pieces as it is generated; closing the stream stops the model.

        Raises:
            InputError: The model cannot take the prompt; it is longer than the model's context.
            BusyError: The queue of the model is full.
            UpstreamError: The model failed, or stopped half-way.
        """


class Generator(Protocol):
    """Writes an answer from passages."""

    def stream(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        """Yields the answer in pieces, with `[n]` markers that point into `prompt.hits`, from 1.

        A language model may write markers that point nowhere; they are removed later. Closing the
        stream stops the work.

        Raises:
            InputError: The generator cannot take the question and the passages.
            BusyError: The queue of the generator is full.
            UpstreamError: The generator failed, or stopped half-way.
        """


class Queue(Protocol):
    """Processes the tasks in the catalog, or gives them to workers."""

    def wake(self) -> None:
        """Signals that tasks were submitted."""

    async def drain(self) -> None:
        """Processes every pending task, or gives it to a worker.

        Raises:
            RagError: A task could not be processed or given away; the rest stays pending, and tasks
                under way are pending again at the next start.
        """

    def started(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Runs the queue until the end of the block."""


class Retriever(Protocol):
    """Finds the passages that answer a query."""

    async def retrieve(self, query: Query, trace: Trace) -> Retrieved:
        """Returns at most `top_k` hits, best first, and the stages that were left out.

        None are found in a scope that was never written to. The trace observes the stages.

        Raises:
            UpstreamError: A stage failed that cannot be left out.
        """
        ...
