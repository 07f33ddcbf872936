"""Changes the ACLs of documents that are stored, without computing a vector of what stays."""

from __future__ import annotations

from ingest.settler import Settler
from ingest.writing import Writer
from rag.catalog.catalog import Catalog
from rag.protocols import StoredIndex
from rag.records import DocumentRecord
from rag.telemetry.trace import Trace
from rag.types import Readers, Scope, stored_acl


class Permissions:
    """Replaces ACLs in catalog and index. At no moment does the index show more than both allow."""

    def __init__(
        self, *, writer: Writer, settler: Settler, index: StoredIndex, catalog: Catalog
    ) -> None:
        self._writer = writer
        self._settler = settler
        self._index = index
        self._catalog = catalog

    async def change(self, scope: Scope, document_id: str, acl: Readers | None) -> None:
        """Replaces a document's ACL; with None, it follows the collection's default.

        It holds from the next question on, for its attachments as well. A duplicate that gets other
        readers than the document that holds its chunks gets chunks of its own, which are embedded.

        Raises:
            NotFoundError: There is no such document, or the scope's readers may not read it.
            UpstreamError: Index or embedder cannot be reached. If the ACL is changed by then, the
                rest is done later.
        """
        async with self._catalog.alone(scope.whole, "document", document_id):
            record = await self._catalog.documents.get(scope, document_id)
            await self.apply(scope.whole, record, acl)
        for attached in await self._catalog.documents.attached(scope.whole, document_id):
            await self.change(scope.whole, attached, acl)

    async def apply(self, scope: Scope, record: DocumentRecord, acl: Readers | None) -> None:
        """Same as `change`, for a caller who holds the document's lock.

        1. mark  2. hand its chunks over to its duplicates, which keep the old readers  3. in the
        index, leave those who may read by both ACLs  4. write the new one to the catalog  5. repair
        the index from it. Killed anywhere, the mark makes the next start do step 5.
        """
        async with self._writer.contents(scope, record.version):
            record = await self._catalog.documents.get(scope, record.id)
            if record.acl == acl:
                return
            if not record.version:  # it was never read, and the index has nothing of it
                await self._catalog.acls.set(scope, record.id, acl)
                return
            await self._catalog.unsettled.note(scope, record.id)  # 1.
            if not record.duplicate_of:
                await self._writer.hand_over(scope, record.id, record.cut, Trace())  # 2.
            await self._index.set_acl(scope, record.id, record.words & stored_acl(acl))  # 3.
            await self._catalog.acls.set(scope, record.id, acl)  # 4.
            changed = await self._catalog.documents.get(scope, record.id)
            await self._settler.repair(scope, changed)  # 5.
