"""The ingestion of a document, from its bytes to the index."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from ingest import attachments
from ingest.deletion import Deletion
from ingest.document_trace import DocumentTraces, note
from ingest.duplicates import Duplicates
from ingest.permissions import Permissions
from ingest.removal import Removal
from ingest.retries import attempt, drop_unwanted
from ingest.settler import Settler
from ingest.sources.files import Spool
from ingest.sources.originals import Originals
from ingest.turns import reading_for
from ingest.writing import UsageOf, Writer
from rag.catalog.catalog import Catalog
from rag.errors import ConfigError, RagError
from rag.protocols import (
    Chunker,
    Embedder,
    PassageEmbedder,
    Reader,
    SparseEncoder,
    StoredIndex,
    VectorCache,
)
from rag.records import JobRecord, Submission, Task
from rag.telemetry.trace import Trace
from rag.types import Document, Scope, stored_acl

BULK_FROM = 17
"""Documents sent together that wait for those of smaller submissions."""


class IngestPipeline:
    """Reads, chunks, embeds and stores documents; writes only what changed."""

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
        originals: Originals | None = None,
        passages: PassageEmbedder | None = None,
        traces: DocumentTraces | None = None,
        seconds: float | None = None,
        usage_of: UsageOf | None = None,
        cache: VectorCache | None = None,
    ) -> None:
        """Make a pipeline; a document that takes more than `seconds` fails.

        With `originals`, the files are kept as long as their documents. With `passages`, token
        vectors are stored beside a chunk's own. `usage_of` returns what is charged. The `cache`
        keeps vectors.
        """
        self._reader = reader
        self._embedder = embedder
        self._catalog = catalog
        self._spool = spool
        self._originals = originals
        self._traces = traces or DocumentTraces()
        self._seconds = seconds
        self._writer = Writer(
            chunker=chunker,
            embedder=embedder,
            encoder=encoder,
            index=index,
            catalog=catalog,
            passages=passages,
            usage_of=usage_of,
            cache=cache,
        )
        self._deletion = Deletion(
            writer=self._writer, index=index, catalog=catalog, spool=spool, originals=originals
        )
        self.settler = Settler(
            writer=self._writer, index=index, catalog=catalog, deletion=self._deletion
        )
        self._index = index
        self._duplicates = Duplicates(writer=self._writer, catalog=catalog)
        self.permissions = Permissions(
            writer=self._writer, settler=self.settler, index=index, catalog=catalog
        )
        self.removal = Removal(catalog=catalog, index=index, spool=spool, originals=originals)

    async def ingest(self, task: Task, *, wait: bool = True) -> None:
        """Ingests one document completely, from its parsed form if it was parsed before.

        The bytes of a failed document are kept for another attempt; others are dropped.

        Raises:
            BusyError: Another worker has this document, and `wait` is False.
        """
        if await attempt(
            self._catalog,
            task,
            self._ingest,
            wait=wait,
            seconds=self._seconds,
            traces=self._traces,
        ):
            self._spool.of(task.scope.tenant).drop(task.source)
        else:
            await drop_unwanted(self._catalog, self._spool, task)

    async def _ingest(self, task: Task, trace: Trace) -> None:
        """1. read  2. unchanged or a duplicate?  3. chunk  4. embed and write what is new
        5. delete what is gone  6. record it in the catalog, and accept its attachments.

        Upsert before delete, catalog last: killed anywhere, the document stays searchable and the
        task can run again. If it does not, the mark shows that the index must be repaired.
        """  # noqa: D205
        document, attached = await self._read(task, trace)  # 1.
        note(trace, document)
        before = await self._catalog.documents.get(task.scope, task.document_id)
        acl = before.acl if task.acl is None else task.acl
        attached = [replace(each, acl=acl) for each in attached]
        if not before.version:
            mark = await self._catalog.unsettled.of(task.scope, task.document_id)
            if mark and mark.version:  # sent anew before its deletion was finished
                await self._deletion.finish(mark)
        elif await self._duplicates.unchanged(task, before, document):  # 2.
            if task.acl is not None:
                await self.permissions.apply(task.scope, before, task.acl)
            kept = None if before.original else await self._keep(task, document)
            await self._store(task, document, attached)
            await self._catalog.outcomes.unchanged(
                task, document, original=kept or "", attachments=attached
            )
            trace.outcome = "unchanged"
            return
        else:
            ids = {each.document_id for each in attached}
            await self._deletion.delete_attachments(task.scope, task.document_id, but=ids)
        async with self._writer.contents(task.scope, before.version, document.version):
            original = await self._duplicates.original(task, before, document, acl, trace)
            chunks = [] if original else await self._writer.chunk(document, trace)  # 3.
            await self._catalog.unsettled.add(task.scope, task.document_id)
            await self._writer.store(  # 4. 5.
                task.scope,
                task.document_id,
                chunks,
                trace,
                acl=stored_acl(acl),
                recipe=before.recipe,
            )
            if acl != before.acl:  # also in the version that a rollback goes back to
                await self._index.set_acl(task.scope, task.document_id, stored_acl(acl))
            with trace.span("commit"):
                kept = await self._keep(task, document)
                await self._store(task, document, attached)
                await self._catalog.outcomes.succeed(  # 6.
                    task,
                    document,
                    recipe=self._writer.recipe(document),
                    chunks=len(chunks),
                    duplicate_of=original,
                    original=kept,
                    attachments=attached,
                )
                await self._deletion.forget_original(task.scope, before.original, but=kept)
        trace.root.attributes["chunks"] = len(chunks)
        trace.outcome = "duplicate" if original else "stored"

    async def _keep(self, task: Task, document: Document) -> str | None:
        """Stores the file that a document was read from; returns its key, if it has one."""
        if self._originals is None:
            return None
        path = self._spool.of(task.scope.tenant).path(task.source)
        kept = self._originals.of(task.scope.tenant)
        return await asyncio.to_thread(kept.store, task.source, path, version=document.version)

    async def _store(self, task: Task, document: Document, attached: Sequence[Submission]) -> None:
        """Stores the bytes of attachments, unless the stage before has stored them."""
        if document.attachments:
            spool = self._spool.of(task.scope.tenant)
            await asyncio.to_thread(attachments.store, document, attached, spool)

    async def _read(self, task: Task, trace: Trace) -> tuple[Document, Sequence[Submission]]:
        """Returns the document and its attachments, from the stage before if there was one."""
        draft = await self._catalog.tasks.draft(task) if task.stage == "embed" else None
        if draft is not None:
            return draft, attachments.noted(task)
        with trace.span("read"), reading_for(task.job_id, bulk=task.bulk):
            spool = self._spool.of(task.scope.tenant)
            path = spool.path(task.source)
            document = await self._reader.read(
                task.source, path, id_=task.document_id, uri=task.uri
            )
        return document, attachments.submissions(task, document, spool)

    async def delete(self, scope: Scope, document_id: str) -> None:
        """Removes a document and its attachments.

        For the scope's readers, one that they may not read is as one that there is none of. If
        another document has the same bytes, that one takes over the chunks. The catalog forgets it
        first, and from then on nobody finds it. After a kill from then on,
        the deletion is finished at the next start; an interrupted deletion can be repeated.

        Raises:
            NotFoundError: There is no such document.
        """
        await self._deletion.delete(scope, document_id)

    async def cancel(self, tenant: str, job_id: str) -> JobRecord:
        """Cancels a job's tasks that have not begun, and drops their bytes; others are finished.

        Raises:
            NotFoundError: The tenant has no such job.
        """
        job = await self._catalog.jobs.cancel(tenant, job_id)
        unwanted = await self._catalog.jobs.cancelled(tenant, job_id)
        await asyncio.to_thread(self._spool.of(tenant).sweep, unwanted)
        return job

    async def accept(
        self,
        scope: Scope,
        documents: Sequence[Submission],
        request: Trace,
        *,
        expires_in: float | None = None,
    ) -> str:
        """Lists documents that were sent; returns the id of the job that will ingest them.

        `BULK_FROM` documents and more wait for all others. Those that have not begun within
        `expires_in` seconds fail. The job belongs to the scope's reader.

        Raises:
            ConfigError: Same as `check_collection`; the bytes that were sent are dropped.
        """
        ids = [document.document_id for document in documents]
        bulk = len(documents) >= BULK_FROM
        spool = self._spool.of(scope.tenant)
        sender, scope = scope, scope.whole
        with self._traces.accepting(scope, documents, request, bulk=bulk) as accepting:
            try:
                await self.check_collection(scope)
            except RagError:  # nothing is listed: nobody will use the bytes
                for document in documents:
                    spool.drop(document.source)
                raise
            before = await self._catalog.documents.spooled(scope, ids)
            accepting.job_id = await self._catalog.jobs.submit(
                sender,
                accepting.documents,
                bulk=bulk,
                expires_in=expires_in,
                key_id=request.meter.key_id,
                subject=request.meter.subject,
            )
        if before:  # earlier failures are not retried any more
            spool.sweep(before - await self._catalog.documents.spooled(scope, ids))
        return accepting.job_id

    async def check_collection(self, scope: Scope) -> None:
        """Makes the collection if it is new.

        Raises:
            ConfigError: The collection was made with another embedder: its vectors cannot be
                compared.
        """
        made_with = await self._catalog.collections.claim(scope, self._embedder.fingerprint)
        if made_with != self._embedder.fingerprint:
            raise ConfigError(
                f"Collection {scope.collection!r} was made with the embedder {made_with}, and the"
                f" settings name {self._embedder.fingerprint}. Set the embedder back, or embed all"
                " of it again with `rag reindex`, or ingest into a new collection with"
                " --collection NAME.",
                code="embedder_mismatch",
            )
