"""The deletion of a tenant with all that it has."""

from __future__ import annotations

import asyncio

from ingest.removal import Removal
from ingest.sources.files import KeyedFiles, Spool
from ingest.sources.originals import Originals
from rag.catalog.catalog import Catalog
from rag.catalog.tables import api_keys, audit_heads
from rag.catalog.tenants import TABLES
from rag.errors import NotFoundError
from rag.records import AuditRow
from rag.types import Scope


class TenantDeletion:
    """Deletes tenants. A deletion that was cut short is finished by another one."""

    def __init__(
        self, *, catalog: Catalog, removal: Removal, spool: Spool, originals: Originals
    ) -> None:
        self._catalog = catalog
        self._removal = removal
        self._spool = spool
        self._originals = originals

    async def delete(self, tenant: str, *, begun: AuditRow, done: AuditRow) -> None:
        """Deletes all that a tenant has.

        1. keys, so that nobody comes in  2. collections, with documents, index and answers
        3. the rows of all other tables  4. files  5. the head of its audit log, which names it
        until then.

        It can be repeated from any point.

        Args:
            tenant: its name.
            begun: a row for its own audit log, which is deleted with the rest.
            done: a row for the audit log of the service.

        Raises:
            BusyError: A collection is being indexed again.
        """
        catalog = self._catalog
        await catalog.audit.write([begun])
        await catalog.tenants.delete(tenant, api_keys)  # 1.
        for scope in await catalog.tenants.scopes(tenant):  # 2.
            await self._remove(scope)
        await catalog.tenants.delete(tenant, *(t for t in TABLES if t is not audit_heads))  # 3.
        for files in (self._spool.of(tenant), self._originals.of(tenant)):  # 4.
            await asyncio.to_thread(_clear, files)
        await catalog.audit.write([done])
        await catalog.tenants.delete(tenant, audit_heads)  # 5.

    async def _remove(self, scope: Scope) -> None:
        try:
            await self._removal.remove(scope)
        except NotFoundError:  # its removal was begun before
            await self._removal.finish()


def _clear(files: KeyedFiles) -> None:
    files.sweep(files.keys(older_than=0))
