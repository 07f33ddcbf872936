"""The catalog: collections, accepted documents with their texts, jobs and tasks."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import AbstractAsyncContextManager

from rag.catalog.acls import Acls
from rag.catalog.audit import Audit
from rag.catalog.batch_files import BatchFiles
from rag.catalog.batch_queue import BatchQueue
from rag.catalog.batch_results import BatchResults
from rag.catalog.batches import Batches
from rag.catalog.collections import Collections
from rag.catalog.content_versions import ContentVersions
from rag.catalog.database import Database
from rag.catalog.documents import Documents
from rag.catalog.jobs import Jobs
from rag.catalog.keys import Keys
from rag.catalog.outcomes import Outcomes
from rag.catalog.refused_tokens import RefusedTokens
from rag.catalog.removals import Removals
from rag.catalog.rollouts import Rollouts
from rag.catalog.staged import Staged
from rag.catalog.tasks import Tasks
from rag.catalog.tenants import Tenants
from rag.catalog.unsettled import Unsettled
from rag.catalog.usage import Usage
from rag.catalog.versions import Versions
from rag.catalog.webhook_outbox import Webhooks


class Catalog:
    """The tables of one database, in parts, and locks that all users of the database share.

    A part's call takes the tenant or scope whose rows it reads or changes. Calls that serve the
    process as a whole take none, and say so.
    """

    def __init__(self, database: Database) -> None:
        self._db = database
        self.unsettled = Unsettled(database)
        self.staged = Staged(database)
        self.collections = Collections(database)
        self.contents = ContentVersions(database)
        self.acls = Acls(database)
        self.documents = Documents(database, self.unsettled)
        self.versions = Versions(database, self.unsettled, self.staged)
        self.jobs = Jobs(database)
        self.tasks = Tasks(database)
        self.outcomes = Outcomes(database, self.unsettled)
        self.keys = Keys(database)
        self.refused_tokens = RefusedTokens(database)
        self.usage = Usage(database)
        self.audit = Audit(database)
        self.removals = Removals(database)
        self.tenants = Tenants(database)
        self.webhooks = Webhooks(database)
        self.batch_files = BatchFiles(database)
        self.batches = Batches(database)
        self.batch_queue = BatchQueue(database)
        self.batch_results = BatchResults(database)
        self.rollouts = Rollouts(database)

    async def open(self) -> None:
        """Makes the tables ready."""
        await self._db.open()

    async def close(self) -> None:
        """Closes every connection."""
        await self._db.close()

    def alone(self, *key: Hashable, wait: bool = True) -> AbstractAsyncContextManager[None]:
        """Holds the lock of a key: no other user of this catalog is in a block with this key.

        Raises:
            BusyError: Another user has the lock, and `wait` is False.
        """
        return self._db.alone(*key, wait=wait)
