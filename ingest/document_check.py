"""Compares a document in the catalog with its chunks in the index."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

from rag.catalog.catalog import Catalog
from rag.errors import NotFoundError
from rag.protocols import PersistentIndex
from rag.records import DocumentRecord
from rag.types import Scope

PAGE = 1_000
"""Chunks, or documents, read at once."""

FaultKind = Literal["missing", "surplus", "old", "moved", "twice", "original", "orphan"]
"""The kinds, in order: chunks are missing; there are more than recorded; they are of other bytes;
their text differs from the stored one; two have the same place; a duplicate's original does not
hold its bytes; their document is not in the catalog."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One document on which catalog and index disagree."""

    document_id: str
    uri: str
    kind: FaultKind
    chunks: int
    """Number of chunks in the index."""
    expected: int


class Checker:
    """Finds documents on which catalog and index disagree."""

    def __init__(self, *, index: PersistentIndex, catalog: Catalog) -> None:
        self._index = index
        self._catalog = catalog

    async def records(self, scope: Scope) -> AsyncIterator[list[DocumentRecord]]:
        """Yields all documents, page by page, in the order of their ids."""
        after = ""
        while page := await self._catalog.documents.page(scope, limit=PAGE, after=after):
            yield page
            after = page[-1].id

    async def orphans(self, scope: Scope) -> AsyncIterator[str]:
        """Yields ids of documents in the index that the catalog does not know, each once.

        The index is read page by page. If a document's chunks are on several pages, the page with
        its lowest chunk id counts.
        """
        async for chunks in self._index.pages(scope):
            here = {chunk.id for chunk in chunks}
            ids = sorted({chunk.document_id for chunk in chunks})
            known = await self._catalog.documents.known(scope, ids)
            for id_ in (id_ for id_ in ids if id_ not in known):
                held = await self._index.chunk_ids(scope, id_)
                if held and min(held) in here:
                    yield id_

    async def fault_of(self, scope: Scope, record: DocumentRecord) -> Fault | None:
        """Returns a document's first fault; None if catalog, index and stored text agree."""
        ids = sorted(await self._index.chunk_ids(scope, record.id))
        kind = await self._kind(scope, record, ids)
        if kind is None:
            return None
        return Fault(
            document_id=record.id,
            uri=record.uri,
            kind=kind,
            chunks=len(ids),
            expected=record.chunks,
        )

    async def _kind(self, scope: Scope, record: DocumentRecord, ids: list[str]) -> FaultKind | None:
        if record.duplicate_of and not await self._original_holds(scope, record):
            return "original"
        if len(ids) != record.chunks:
            return "missing" if len(ids) < record.chunks else "surplus"
        if not ids:
            return None
        text = await self._catalog.documents.text(scope, record.id)
        places: set[int] = set()
        for i in range(0, len(ids), PAGE):
            for chunk in await self._index.fetch(scope, ids[i : i + PAGE]):
                if chunk.version != record.version:
                    return "old"
                if text[chunk.start : chunk.end] != chunk.text:
                    return "moved"
                places.add(chunk.position)
        return None if places == set(range(len(ids))) else "twice"

    async def _original_holds(self, scope: Scope, record: DocumentRecord) -> bool:
        """True if a duplicate's original holds the same bytes for the same readers.

        Also if it is deleted, and will hand over its chunks.
        """
        original = record.duplicate_of or ""
        mark = await self._catalog.unsettled.of(scope, original)
        if mark and mark.version == record.version:
            return True
        with contextlib.suppress(NotFoundError):
            found = await self._catalog.documents.get(scope, original)
            same = (found.version, found.acl) == (record.version, record.acl)
            return same and found.duplicate_of is None
        return False
