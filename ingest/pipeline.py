"""A document's journey."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from ingest.attempts import attempt
from ingest.chunkers import rehome
from ingest.sources import Spool
from ingest.traces import DocumentTraces, note
from ingest.turns import asking
from rag.catalog import Catalog
from rag.errors import ConfigError, NotFoundError
from rag.passages import passage_text
from rag.protocols import Chunker, Embedder, Index, PassageEmbedder, Reader, SparseEncoder
from rag.records import Cut, DocumentRecord, Submission, Task
from rag.telemetry import Trace
from rag.types import Chunk, Document, Point, Scope

WRITE_CHUNKS = 256
"""Chunks embedded and written at once: bounds the memory that one long document takes."""


class IngestPipeline:
    """Reads, chunks, embeds and stores; writes only what changed."""

    def __init__(
        self,
        *,
        reader: Reader,
        chunker: Chunker,
        embedder: Embedder,
        encoder: SparseEncoder,
        index: Index,
        catalog: Catalog,
        spool: Spool,
        passages: PassageEmbedder | None = None,
        traces: DocumentTraces | None = None,
    ) -> None:
        """Make a pipeline; with `passages`, token vectors are stored beside a chunk's own."""
        self._reader = reader
        self._chunker = chunker
        self._embedder = embedder
        self._encoder = encoder
        self._index = index
        self._catalog = catalog
        self._spool = spool
        self._passages = passages
        self._traces = traces or DocumentTraces()
        self._recipe = f"{chunker.fingerprint} {embedder.fingerprint}"

    async def ingest(self, task: Task, *, wait: bool = True) -> None:
        """Takes one document all the way, from what was parsed of it where that was done before.

        The bytes of what failed are kept, so that it can be tried again.

        Raises:
            BusyError: somebody works on this document, and we are not to wait.
        """
        if await attempt(self._catalog, task, self._ingest, wait=wait, traces=self._traces):
            self._spool.drop(task.source)

    async def _ingest(self, task: Task, trace: Trace) -> None:
        """1. read  2. unchanged or a duplicate?  3. chunk  4. embed and write what is new
        5. delete what is gone  6. tell the catalog.

        Upsert before delete, catalog last: killed anywhere, the document stays searchable and the
        task can run again.
        """  # noqa: D205
        document = await self._read(task, trace)  # 1.
        note(trace, document)
        before = await self._catalog.document(task.scope, task.document_id)
        if self._unchanged(before, document):  # 2.
            await self._catalog.unchanged(task, document)
            trace.outcome = "unchanged"
            return
        async with self._contents(task.scope, before.version, document.version):
            original = await self._original(task, before, document, trace)
            chunks = [] if original else await self._chunk(document, trace)  # 3.
            await self._store(task.scope, task.document_id, chunks, trace)  # 4. 5.
            with trace.span("commit"):
                await self._catalog.succeed(  # 6.
                    task, document, recipe=self._recipe, chunks=len(chunks), duplicate_of=original
                )
        trace.root.attributes["chunks"] = len(chunks)
        trace.outcome = "duplicate" if original else "stored"

    async def _read(self, task: Task, trace: Trace) -> Document:
        draft = await self._catalog.draft(task) if task.stage == "embed" else None
        if draft is not None:
            return draft
        with trace.span("read"), asking(task.job_id, bulk=task.bulk):
            path = self._spool.path(task.source)
            return await self._reader.read(task.source, path, id_=task.document_id, uri=task.uri)

    async def _chunk(self, document: Document, trace: Trace) -> list[Chunk]:
        with trace.span("chunk") as span:
            chunks = await asyncio.to_thread(self._chunker.chunk, document)
            span.attributes["chunks"] = len(chunks)
            return chunks

    async def delete(self, scope: Scope, document_id: str) -> None:
        """Removes a document; where another has the same bytes, that one takes over the chunks.

        Raises:
            NotFoundError: there is no such document.
        """
        async with self._catalog.alone(scope, "document", document_id):
            record = await self._catalog.document(scope, document_id)
            async with self._contents(scope, record.version):
                await self._hand_over(scope, record, Trace())
                ids = await self._index.chunk_ids(scope, document_id)
                await self._index.delete(scope, sorted(ids))
                await self._catalog.delete(scope, document_id)
            self._spool.drop(record.source)

    @contextlib.asynccontextmanager
    async def settled(self, scope: Scope, document_id: str) -> AsyncIterator[DocumentRecord | None]:
        """A document that nobody works on in this block; None where nothing is stored of it."""
        async with self._catalog.alone(scope, "document", document_id):
            record = await self._stored(scope, document_id)
            async with self._contents(scope, record.version if record else ""):
                yield await self._stored(scope, document_id)

    async def write_again(self, scope: Scope, record: DocumentRecord, version: Scope) -> Cut:
        """Writes a document to a version of the index, from its stored text; it is to be settled.

        Raises:
            InputError: the text alone is stored.
        """
        chunks: list[Chunk] = []
        trace = Trace()
        if record.duplicate_of is None:
            chunks = await self._chunk(await self._catalog.stored(scope, record.id), trace)
        await self._store(version, record.id, chunks, trace)
        return Cut(
            version=record.version,
            duplicate_of=record.duplicate_of,
            recipe=self._recipe,
            chunks=len(chunks),
        )

    async def accept(
        self,
        scope: Scope,
        documents: Sequence[Submission],
        request: Trace,
        *,
        bulk: bool,
        expires_in: float | None,
    ) -> str:
        """Lists documents that came in a request; the id of the job that will ingest them.

        Raises:
            ConfigError: as `check_collection`.
        """
        with self._traces.accepting(scope, documents, request, bulk=bulk) as accepting:
            await self.check_collection(scope)
            accepting.job_id = await self._catalog.submit(
                scope, accepting.documents, bulk=bulk, expires_in=expires_in
            )
        return accepting.job_id

    async def check_collection(self, scope: Scope) -> None:
        """Makes the collection if it is new.

        Raises:
            ConfigError: it was made with another embedder: its vectors cannot be compared.
        """
        made_with = await self._catalog.claim_collection(scope, self._embedder.fingerprint)
        if made_with != self._embedder.fingerprint:
            raise ConfigError(
                f"Collection {scope.collection!r} was made with the embedder {made_with}, and the"
                f" settings name {self._embedder.fingerprint}. Set the embedder back, or embed all"
                " of it again with `rag reindex`, or ingest into a new collection with"
                " --collection NAME.",
                code="embedder_mismatch",
            )

    async def _stored(self, scope: Scope, document_id: str) -> DocumentRecord | None:
        with contextlib.suppress(NotFoundError):
            record = await self._catalog.document(scope, document_id)
            return record if record.version else None
        return None

    def _unchanged(self, before: DocumentRecord, document: Document) -> bool:
        return (before.version, before.recipe) == (document.version, self._recipe)

    async def _original(
        self, task: Task, before: DocumentRecord, document: Document, trace: Trace
    ) -> str | None:
        """Id of the document that holds the same bytes already; never for ids of the caller's own,
        who may well mean two documents with one text.

        A document whose bytes change hands its old chunks over first; one that is only cut anew
        stays what it is to the others.
        """  # noqa: D205
        if before.version:  # whom it shares its bytes with may have changed until they were ours
            before = await self._catalog.document(task.scope, task.document_id)
            if before.version == document.version:
                return before.duplicate_of
            await self._hand_over(task.scope, before, trace)
        if task.source.get("own_id"):
            return None
        same = await self._catalog.same_content(task.scope, document.version)
        return same.id if same and same.id != task.document_id else None

    async def _hand_over(self, scope: Scope, record: DocumentRecord, trace: Trace) -> None:
        """Before a document goes or changes: its chunks go to a document with the same bytes."""
        heirs = await self._catalog.duplicates(scope, record.id)
        if not heirs:
            return
        heir = heirs[0]
        with trace.span("hand over"):
            ids = await self._index.chunk_ids(scope, record.id)
            chunks = rehome(
                await self._index.fetch(scope, sorted(ids)), document_id=heir.id, uri=heir.uri
            )
            await self._write(scope, chunks, trace)
            await self._catalog.inherit(scope, heirs, chunks=len(chunks), recipe=record.recipe)

    async def _store(
        self, scope: Scope, document_id: str, chunks: Sequence[Chunk], trace: Trace
    ) -> None:
        """Makes these the document's chunks: writes what is new, then deletes what is gone.

        Of those that stay the span alone may have moved.
        """
        with trace.span("compare") as span:
            stored = await self._index.chunk_ids(scope, document_id)
            kept = [Point(chunk=chunk) for chunk in chunks if chunk.id in stored]
            span.attributes["kept"] = len(kept)
            for i in range(0, len(kept), WRITE_CHUNKS):
                await self._index.upsert(scope, kept[i : i + WRITE_CHUNKS])
        await self._write(scope, [chunk for chunk in chunks if chunk.id not in stored], trace)
        if gone := stored - {chunk.id for chunk in chunks}:
            with trace.span("delete") as span:
                span.attributes["points"] = len(gone)
                await self._index.delete(scope, sorted(gone))

    async def _write(self, scope: Scope, chunks: Sequence[Chunk], trace: Trace) -> None:
        """Embeds and writes chunks that are new."""
        for i in range(0, len(chunks), WRITE_CHUNKS):
            points = await self._embed(chunks[i : i + WRITE_CHUNKS], trace)
            with trace.span("upsert") as span:
                span.attributes["points"] = len(points)
                await self._index.upsert(scope, points)

    async def _embed(self, chunks: Sequence[Chunk], trace: Trace) -> list[Point]:
        with trace.span("embed", "embedding") as span:
            span.attributes["texts"] = len(chunks)
            span.attributes["embedder"] = self._embedder.fingerprint
            return await self._points(chunks)

    async def _points(self, chunks: Sequence[Chunk]) -> list[Point]:
        texts = [passage_text(chunk) for chunk in chunks]
        sparse = await asyncio.to_thread(self._encoder.encode, texts)
        if self._passages is None:
            dense = await self._embedder.embed(texts, kind="passage")
            parts = zip(chunks, dense, sparse, strict=True)
            return [Point(chunk=c, dense=d, sparse=s) for c, d, s in parts]
        both = zip(chunks, await self._passages.embed_passages(texts), sparse, strict=True)
        return [
            Point(chunk=c, dense=e.dense, sparse=s, tokens=e.tokens if len(e.tokens) else None)
            for c, e, s in both
        ]

    @contextlib.asynccontextmanager
    async def _contents(self, scope: Scope, *versions: str) -> AsyncIterator[None]:
        """Nobody else comes to share these bytes, or ceases to, meanwhile."""
        async with contextlib.AsyncExitStack() as stack:
            for version in sorted(set(filter(None, versions))):  # in one order: no deadlock
                await stack.enter_async_context(self._catalog.alone(scope, "content", version))
            yield
