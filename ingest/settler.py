"""Puts the index in step with the catalog, one document at a time."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

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
    """Finishes what was cut short, and makes a document's chunks anew from its stored text."""

    def __init__(self, *, writer: Writer, index: StoredIndex, catalog: Catalog) -> None:
        self._writer = writer
        self._index = index
        self._catalog = catalog
        self._checker = Checker(index=index, catalog=catalog)

    async def finish_deletion(self, mark: Mark) -> None:
        """Removes from the index what is left of a document that the catalog has forgotten.

        The caller has the document to itself. Repeated from any point it comes to the same end.
        """
        scope, document_id = mark.scope, mark.document_id
        async with self._writer.contents(scope, mark.version):
            await self._writer.hand_over(scope, document_id, mark.held, Trace())
            await self._writer.clear(scope, document_id)
            # The version that is searched may be newer than the deletion, and never have had it.
            if previous := await self._index.previous_version(scope):
                await self._writer.clear(previous, document_id)
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
            record = await self._writer.stored(scope, document_id)
            async with self._writer.contents(scope, record.version if record else ""):
                yield await self._writer.stored(scope, document_id)

    async def settle(self, mark: Mark) -> None:
        """Brings the index in step with the catalog for a marked document that nobody works on.

        The caller has seen that the collection was made with the embedder of the settings.

        Raises:
            BusyError: somebody does.
        """
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
            stands = same and await self._writer.stands_for(scope, same, record.version)
            record = replace(record, duplicate_of=same.id if same and stands else None)
        try:
            cut = await self.write_again(scope, record, scope)
        except InputError:
            for heir in await self._catalog.duplicates(scope, record.id):
                await self._catalog.unsettled.add(scope, heir.id)  # to be settled without it
            await self._writer.clear(scope, record.id)
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
            chunks = await self._writer.chunk(await self._catalog.stored(scope, record.id), trace)
        await self._writer.store(version, record.id, chunks, trace)
        return Cut(
            version=record.version,
            duplicate_of=record.duplicate_of,
            recipe=self._writer.recipe,
            chunks=len(chunks),
        )
