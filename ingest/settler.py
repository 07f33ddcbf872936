"""Brings the index in step with the catalog, one document at a time."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

from ingest.deletion import Deletion
from ingest.document_check import Checker
from ingest.writing import Writer
from rag.catalog.catalog import Catalog
from rag.catalog.unsettled import Mark
from rag.errors import InputError
from rag.protocols import StoredIndex
from rag.records import Cut, DocumentRecord
from rag.telemetry.trace import Trace
from rag.types import Chunk, Scope

LOST = "The index holds it no more: ingest it again."


class Settler:
    """Finishes interrupted work, and recomputes a document's chunks from its stored text."""

    def __init__(
        self, *, writer: Writer, index: StoredIndex, catalog: Catalog, deletion: Deletion
    ) -> None:
        self._writer = writer
        self._index = index
        self._catalog = catalog
        self._deletion = deletion
        self._checker = Checker(index=index, catalog=catalog)

    @contextlib.asynccontextmanager
    async def settled(
        self, scope: Scope, document_id: str, *, wait: bool = True
    ) -> AsyncIterator[DocumentRecord | None]:
        """Locks a document during the block; provides its record, None if nothing of it is stored.

        Raises:
            BusyError: Another worker has it, and `wait` is False.
        """
        async with self._catalog.alone(scope, "document", document_id, wait=wait):
            record = await self._writer.stored(scope, document_id)
            async with self._writer.contents(scope, record.version if record else ""):
                yield await self._writer.stored(scope, document_id)

    async def settle(self, mark: Mark, *, wait: bool = False) -> None:
        """Brings the index in step with the catalog for a marked document that nobody works on.

        The caller has checked that the collection was made with the embedder of the settings.

        Raises:
            BusyError: Another worker has the document, and `wait` is False.
        """
        scope, document_id = mark.scope, mark.document_id
        async with self.settled(scope, document_id, wait=wait) as record:
            now = await self._catalog.unsettled.of(scope, document_id)
            if now is None:  # another worker was faster
                return
            if record is None:
                await self._deletion.finish(now)
            else:
                await self.repair(scope, record)

    async def repair(self, scope: Scope, record: DocumentRecord) -> None:
        """Makes the index match the catalog for a stored document, which must be `settled`.

        Its ACL is written anew in any case. If the chunks cannot be made from the stored text, the
        document is recorded as failed.
        """
        mark = await self._catalog.unsettled.of(scope, record.id)
        switches = mark.switches if mark else 0
        await self._index.set_acl(scope, record.id, record.words)
        fault = await self._checker.fault_of(scope, record)
        if fault is None:
            await self._catalog.unsettled.remove(scope, record.id, switches=switches)
            return
        if fault.kind == "original":  # another document, or it itself, holds its bytes now
            same = await self._catalog.documents.same_content(scope, record.version, record.acl)
            holds = same and await self._writer.holds_chunks(scope, same, record.version)
            record = replace(record, duplicate_of=same.id if same and holds else None)
        try:
            cut = await self.write_again(scope, record, scope)
        except InputError:
            for heir in await self._catalog.documents.duplicates(scope, record.id):
                await self._catalog.unsettled.add(scope, heir.id)  # to be settled on its own
            await self._writer.clear(scope, record.id)
            await self._catalog.documents.lose(scope, LOST, document_id=record.id)
            await self._catalog.unsettled.remove(scope, record.id, switches=switches)
        else:
            await self._catalog.versions.recut(scope, record.id, cut, switches=switches)

    async def write_again(self, scope: Scope, record: DocumentRecord, version: Scope) -> Cut:
        """Writes a document to a version of the index, from its stored text; it must be `settled`.

        Raises:
            InputError: Only the text is stored.
        """
        chunks: list[Chunk] = []
        trace = Trace()
        if record.duplicate_of is None:
            chunks = await self._writer.chunk(
                await self._catalog.documents.stored(scope, record.id), trace
            )
        await self._writer.store(version, record.id, chunks, trace, acl=record.words)
        return Cut(
            version=record.version,
            duplicate_of=record.duplicate_of,
            recipe=self._writer.recipe_again(record.recipe),
            chunks=len(chunks),
        )
