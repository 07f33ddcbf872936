"""A document's journey."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from ingest.attempts import attempt, drop_unwanted
from ingest.checking import Checker
from ingest.chunkers import rehome
from ingest.sources import Spool
from ingest.traces import DocumentTraces, note
from ingest.turns import asking
from rag.catalog import Catalog
from rag.errors import ConfigError, InputError, NotFoundError, RagError
from rag.passages import passage_text
from rag.protocols import Chunker, Embedder, PassageEmbedder, Reader, SparseEncoder, StoredIndex
from rag.records import Cut, DocumentRecord, JobRecord, Submission, Task
from rag.telemetry import Trace
from rag.types import Chunk, Document, Point, Scope
from rag.unsettled import Mark

LOST = "The index holds it no more: ingest it again."
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
        index: StoredIndex,
        catalog: Catalog,
        spool: Spool,
        passages: PassageEmbedder | None = None,
        traces: DocumentTraces | None = None,
        seconds: float | None = None,
    ) -> None:
        """Make a pipeline; past `seconds` a document fails.

        With `passages`, token vectors are stored beside a chunk's own.
        """
        self._reader = reader
        self._chunker = chunker
        self._embedder = embedder
        self._encoder = encoder
        self._index = index
        self._catalog = catalog
        self._spool = spool
        self._passages = passages
        self._traces = traces or DocumentTraces()
        self._seconds = seconds
        self._checker = Checker(index=index, catalog=catalog)
        self._recipe = f"{chunker.fingerprint} {embedder.fingerprint}"

    async def ingest(self, task: Task, *, wait: bool = True) -> None:
        """Takes one document all the way, from what was parsed of it where that was done before.

        The bytes of what failed are kept, so that it can be tried again; others are dropped.

        Raises:
            BusyError: somebody works on this document, and we are not to wait.
        """
        if await attempt(
            self._catalog,
            task,
            self._ingest,
            wait=wait,
            seconds=self._seconds,
            traces=self._traces,
        ):
            self._spool.drop(task.source)
        else:
            await drop_unwanted(self._catalog, self._spool, task)

    async def _ingest(self, task: Task, trace: Trace) -> None:
        """1. read  2. unchanged or a duplicate?  3. chunk  4. embed and write what is new
        5. delete what is gone  6. tell the catalog.

        Upsert before delete, catalog last: killed anywhere, the document stays searchable and the
        task can run again. Where it does not, the mark tells that the index is to be put right.
        """  # noqa: D205
        document = await self._read(task, trace)  # 1.
        note(trace, document)
        before = await self._catalog.document(task.scope, task.document_id)
        if not before.version:
            mark = await self._catalog.unsettled.of(task.scope, task.document_id)
            if mark and mark.version:  # sent anew before its deletion was finished
                await self.finish_deletion(mark)
        elif await self._unchanged(task, before, document):  # 2.
            await self._catalog.unchanged(task, document)
            trace.outcome = "unchanged"
            return
        async with self._contents(task.scope, before.version, document.version):
            original = await self._original(task, before, document, trace)
            chunks = [] if original else await self._chunk(document, trace)  # 3.
            await self._catalog.unsettled.add(task.scope, task.document_id)
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

        The catalog forgets it first, and with that it is gone to everybody. Killed from there on,
        the deletion is finished at the next start; a deletion that was cut short can be repeated.

        Raises:
            NotFoundError: there is no such document.
        """
        async with self._catalog.alone(scope, "document", document_id):
            try:
                await self._catalog.document(scope, document_id)
            except NotFoundError:
                mark = await self._catalog.unsettled.of(scope, document_id)
                if mark is None:
                    raise
                await self.finish_deletion(mark)
                return
            unwanted = await self._catalog.delete(scope, document_id)
            await asyncio.to_thread(self._spool.sweep, unwanted)
            if mark := await self._catalog.unsettled.of(scope, document_id):
                await self.finish_deletion(mark)

    async def cancel(self, job_id: str) -> JobRecord:
        """Cancels what has not begun of a job, and drops its bytes; what runs is finished.

        Raises:
            NotFoundError: there is no such job.
        """
        job = await self._catalog.cancel(job_id)
        await asyncio.to_thread(self._spool.sweep, await self._catalog.cancelled(job_id))
        return job

    async def finish_deletion(self, mark: Mark) -> None:
        """Removes from the index what is left of a document that the catalog has forgotten.

        The caller has the document to itself. Repeated from any point it comes to the same end.
        """
        scope, document_id = mark.scope, mark.document_id
        async with self._contents(scope, mark.version):
            await self._hand_over(scope, document_id, mark.held, Trace())
            await self._clear(scope, document_id)
            # The version that is searched may be newer than the deletion, and never have had it.
            if previous := await self._index.previous_version(scope):
                await self._clear(previous, document_id)
            await self._catalog.unsettled.remove(scope, document_id)

    @contextlib.asynccontextmanager
    async def settled(
        self, scope: Scope, document_id: str, *, wait: bool = True
    ) -> AsyncIterator[DocumentRecord | None]:
        """A document that nobody works on in this block; None where nothing is stored of it.

        Raises:
            BusyError: somebody works on it, and we are not to wait.
        """
        async with self._catalog.alone(scope, "document", document_id, wait=wait):
            record = await self._stored(scope, document_id)
            async with self._contents(scope, record.version if record else ""):
                yield await self._stored(scope, document_id)

    async def settle(self, mark: Mark) -> None:
        """Brings the index in step with the catalog for a marked document that nobody works on.

        Raises:
            BusyError: somebody does.
            ConfigError: the collection was made with another embedder.
        """
        await self.check_collection(mark.scope)
        scope, document_id = mark.scope, mark.document_id
        async with self.settled(scope, document_id, wait=False) as record:
            now = await self._catalog.unsettled.of(scope, document_id)
            if now is None:  # somebody was faster
                return
            if record is None:
                await self.finish_deletion(now)
            else:
                await self.repair(scope, record)

    async def repair(self, scope: Scope, record: DocumentRecord) -> None:
        """Makes the index have what the catalog says of a stored document; it is to be settled.

        Where that cannot be made from what is stored, the document has failed and says so.
        """
        fault = await self._checker.fault_of(scope, record)
        if fault is None:
            await self._catalog.unsettled.remove(scope, record.id)
            return
        if fault.kind == "original":  # another stands for its bytes from now on, or it does itself
            same = await self._catalog.same_content(scope, record.version)
            stands = same and await self._stands_for(scope, same, record.version)
            record = replace(record, duplicate_of=same.id if same and stands else None)
        try:
            cut = await self.write_again(scope, record, scope)
        except InputError:
            for heir in await self._catalog.duplicates(scope, record.id):
                await self._catalog.unsettled.add(scope, heir.id)  # to be settled without it
            await self._clear(scope, record.id)
            await self._catalog.lose(scope, LOST, document_id=record.id)
            await self._catalog.unsettled.remove(scope, record.id)
        else:
            await self._catalog.recut(scope, record.id, cut)

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
            ConfigError: as `check_collection`; the bytes that were sent are dropped.
        """
        ids = [document.document_id for document in documents]
        with self._traces.accepting(scope, documents, request, bulk=bulk) as accepting:
            try:
                await self.check_collection(scope)
            except RagError:  # nothing is listed: nobody will come for the bytes
                for document in documents:
                    self._spool.drop(document.source)
                raise
            before = await self._catalog.spooled(scope, ids)
            accepting.job_id = await self._catalog.submit(
                scope, accepting.documents, bulk=bulk, expires_in=expires_in
            )
        if before:  # what had failed is not retried any more
            self._spool.sweep(before - await self._catalog.spooled(scope, ids))
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

    async def _unchanged(self, task: Task, before: DocumentRecord, document: Document) -> bool:
        """True where the same text is stored, cut alike, and the index has all of its chunks.

        The text of equal bytes may differ: older versions cleaned what they stored.
        """
        if (before.version, before.recipe) != (document.version, self._recipe):
            return False
        holder = before
        if before.duplicate_of:
            original = await self._stored(task.scope, before.duplicate_of)
            if original is None:
                return False
            holder = original
        if not await self._stands_for(task.scope, holder, document.version):
            return False
        return await self._catalog.text(task.scope, task.document_id) == document.text

    async def _stands_for(self, scope: Scope, original: DocumentRecord, version: str) -> bool:
        """True where a document holds these bytes itself, and the index all of its chunks."""
        if original.duplicate_of or original.version != version:
            return False
        return len(await self._index.chunk_ids(scope, original.id)) == original.chunks

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
            if before.version == document.version and not before.duplicate_of:
                return None
            if before.version != document.version:
                await self._hand_over(task.scope, before.id, before.cut, trace)
        if task.source.get("own_id") and before.version != document.version:
            return None
        same = await self._catalog.same_content(task.scope, document.version)
        if same is None or same.id == task.document_id:
            return None
        return same.id if await self._stands_for(task.scope, same, document.version) else None

    async def _hand_over(self, scope: Scope, document_id: str, held: Cut, trace: Trace) -> None:
        """Before a document goes or changes: its chunks go to a document with the same bytes.

        Where the index has not what it should have (`held`), the heir's chunks are made from its
        own stored text. An heir that is deleted meanwhile is passed over.
        """
        heirs = await self._catalog.duplicates(scope, document_id)
        for place in range(len(heirs)):
            with trace.span("hand over"), contextlib.suppress(NotFoundError):
                if await self._give(scope, document_id, held, heirs[place:], trace):
                    return

    async def _give(
        self,
        scope: Scope,
        document_id: str,
        held: Cut,
        heirs: Sequence[DocumentRecord],
        trace: Trace,
    ) -> bool:
        """Gives a document's chunks to the first heir; False where that one is deleted by now.

        Raises:
            NotFoundError: it was deleted before.
        """
        heir, recipe = heirs[0], held.recipe
        await self._catalog.unsettled.add(scope, heir.id)
        ids = await self._index.chunk_ids(scope, document_id)
        found = await self._index.fetch(scope, sorted(ids))
        chunks = rehome(found, document_id=heir.id, uri=heir.uri)
        if [chunk.version for chunk in found] != [held.version] * held.chunks:
            chunks = await self._chunk(await self._catalog.stored(scope, heir.id), trace)
            recipe = self._recipe
        await self._store(scope, heir.id, chunks, trace)
        return await self._catalog.inherit(scope, heirs, chunks=len(chunks), recipe=recipe)

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

    async def _clear(self, scope: Scope, document_id: str) -> None:
        """Removes all chunks of a document."""
        await self._index.delete(scope, sorted(await self._index.chunk_ids(scope, document_id)))

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
