"""Finds what is stored already of a document that was read: its own chunks, or another's."""

from __future__ import annotations

from ingest.writing import Writer
from rag.catalog.catalog import Catalog
from rag.catalog.document_json import stored_meta
from rag.records import DocumentRecord, Task
from rag.telemetry.trace import Trace
from rag.types import Document, Readers


class Duplicates:
    """Compares documents with what is stored; the caller holds the document's lock."""

    def __init__(self, *, writer: Writer, catalog: Catalog) -> None:
        self._writer = writer
        self._catalog = catalog

    async def unchanged(self, task: Task, before: DocumentRecord, document: Document) -> bool:
        """True if the same text is stored, cut alike, and the index has all of its chunks.

        The text of equal bytes may differ: older versions cleaned the stored text.
        """
        if (before.version, before.recipe) != (document.version, self._writer.recipe(document)):
            return False
        holder = before
        if before.duplicate_of:
            original = await self._writer.stored(task.scope, before.duplicate_of)
            if original is None:
                return False
            holder = original
        if not await self._writer.holds_chunks(task.scope, holder, document.version):
            return False
        if "parent" in task.source and before.meta != stored_meta(document.meta):
            return False  # the mail around the same bytes has changed
        return await self._catalog.documents.text(task.scope, task.document_id) == document.text

    async def original(
        self,
        task: Task,
        before: DocumentRecord,
        document: Document,
        acl: Readers | None,
        trace: Trace,
    ) -> str | None:
        """Returns the id of the document that holds the same bytes for the same readers; None for
        an id chosen by the caller, who may mean two documents with one text.

        A document whose bytes or readers change hands its old chunks over first; one that is only
        cut anew stays the original of its duplicates.
        """  # noqa: D205
        if before.version:  # documents with the same bytes may have changed before we had the lock
            before = await self._catalog.documents.get(task.scope, task.document_id)
            stays = (before.version, before.acl) == (document.version, acl)
            if stays and not before.duplicate_of:
                return None
            if not stays:
                await self._writer.hand_over(task.scope, before.id, before.cut, trace)
        if task.source.get("own_id") and before.version != document.version:
            return None
        same = await self._catalog.documents.same_content(task.scope, document.version, acl)
        if same is None or same.id == task.document_id:
            return None
        holds = await self._writer.holds_chunks(task.scope, same, document.version)
        return same.id if holds else None
