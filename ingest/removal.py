"""Deletes a collection: its documents, index, answers and files."""

from __future__ import annotations

import asyncio
import contextlib

from ingest.sources.files import Spool
from ingest.sources.originals import Originals
from rag.catalog.catalog import Catalog
from rag.catalog.removals import Files
from rag.errors import BusyError
from rag.protocols import StoredIndex
from rag.types import Scope


class Removal:
    """Removes collections. A removal that was cut short is finished by `finish`, by any process."""

    def __init__(
        self, *, catalog: Catalog, index: StoredIndex, spool: Spool, originals: Originals | None
    ) -> None:
        self._catalog = catalog
        self._index = index
        self._spool = spool
        self._originals = originals

    async def remove(self, scope: Scope) -> None:
        """Removes a collection; from the first step on it is as one that does not exist.

        Raises:
            NotFoundError: There is no such collection.
            BusyError: The collection is being indexed again.
        """
        async with self._catalog.alone(scope, "reindex", wait=False):
            await self._catalog.removals.begin(scope)
            self._catalog.collections.forget(scope)
            await self._finish(scope)

    async def finish(self) -> None:
        """Finishes the removals, of all tenants, that were cut short."""
        for scope in await self._catalog.removals.begun():
            with contextlib.suppress(BusyError):  # another process is at it
                async with self._catalog.alone(scope, "reindex", wait=False):
                    await self._finish(scope)

    async def _finish(self, scope: Scope) -> None:
        """1. delete rows and files  2. wait for workers in the middle of a document  3. remove the
        index  4. delete what the workers wrote, and the collection.

        It can be repeated from any point. No worker begins with a document of which no row is left.
        """  # noqa: D205
        await self._drop(scope, await self._catalog.removals.clear(scope))  # 1.
        for document_id in await self._catalog.removals.running(scope):  # 2.
            async with self._catalog.alone(scope, "document", document_id):
                """Whoever was writing it is done."""
        await self._index.remove(scope)  # 3.
        await self._drop(scope, await self._catalog.removals.end(scope))  # 4.

    async def _drop(self, scope: Scope, files: Files) -> None:
        await asyncio.to_thread(self._spool.of(scope.tenant).sweep, files.spool)
        if self._originals is not None:
            kept = self._originals.of(scope.tenant)
            await asyncio.to_thread(kept.sweep, files.originals)
