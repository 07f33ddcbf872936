"""Deletes documents, with their attachments."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection

from ingest.sources.files import Spool
from ingest.sources.originals import Originals
from ingest.writing import Writer
from rag.catalog.catalog import Catalog
from rag.catalog.unsettled import Mark
from rag.errors import NotFoundError
from rag.protocols import StoredIndex
from rag.telemetry.trace import Trace
from rag.types import Scope


class Deletion:
    """Deletes documents from the catalog, then from the index.

    After a kill between the two, the mark of the deletion shows that it must be finished.
    """

    def __init__(
        self,
        *,
        writer: Writer,
        index: StoredIndex,
        catalog: Catalog,
        spool: Spool,
        originals: Originals | None,
    ) -> None:
        self._writer = writer
        self._index = index
        self._catalog = catalog
        self._spool = spool
        self._originals = originals

    async def delete(self, scope: Scope, document_id: str) -> None:
        """Removes a document; see `IngestPipeline.delete`."""
        seen, scope = scope, scope.whole
        async with self._catalog.alone(scope, "document", document_id):
            try:
                record = await self._catalog.documents.get(seen, document_id)
            except NotFoundError:
                if seen.readers is not None:
                    raise
                mark = await self._catalog.unsettled.of(scope, document_id)
                if mark is None:
                    raise
                await self.finish(mark)
                return
            unwanted = await self._catalog.documents.delete(scope, document_id)
            await asyncio.to_thread(self._spool.of(scope.tenant).sweep, unwanted)
            await self.forget_original(scope, record.original)
            if mark := await self._catalog.unsettled.of(scope, document_id):
                await self.finish(mark)

    async def delete_attachments(
        self, scope: Scope, document_id: str, *, but: Collection[str] = ()
    ) -> None:
        """Deletes the attachments of a document whose lock the caller holds, except some ids."""
        for attached in await self._catalog.documents.attached(scope, document_id):
            if attached not in but:
                with contextlib.suppress(NotFoundError):  # somebody else was faster
                    await self.delete(scope, attached)

    async def finish(self, mark: Mark) -> None:
        """Removes the attachments and chunks of a document that the catalog has forgotten.

        The caller holds the document's lock. Repeated from any point, it has the same result.
        """
        scope, document_id = mark.scope, mark.document_id
        await self.delete_attachments(scope, document_id)
        async with self._writer.contents(scope, mark.version):
            await self._writer.hand_over(scope, document_id, mark.held, Trace())
            await self._writer.clear(scope, document_id)
            # The current version may be newer than the deletion, and never have had the document.
            if previous := await self._index.previous_version(scope):
                await self._writer.clear(previous, document_id)
            await self._catalog.unsettled.remove(scope, document_id, switches=mark.switches)

    async def forget_original(
        self, scope: Scope, original: str | None, *, but: str | None = None
    ) -> None:
        """Removes an original that the catalog does not name any more."""
        if self._originals is not None and original and original != but:
            await asyncio.to_thread(self._originals.of(scope.tenant).sweep, [original])
