"""Removes the remains of deleted and replaced texts while the service runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator

from ingest.sources.files import Spool
from ingest.sources.originals import Originals
from rag.catalog.answers import Answers
from rag.catalog.catalog import Catalog
from rag.catalog.database import Database
from rag.catalog.forgetting import FORGOTTEN_SECONDS
from rag.errors import RagError

ROUND_SECONDS = FORGOTTEN_SECONDS / 4
"""Seconds between two rounds: if a reader blocks one round, the next may succeed."""
LATE_SECONDS = 600.0
"""Seconds after an answer within which it is stored, if at all."""
SWEEP_SECONDS = 600.0
"""Seconds between checks of the spool: replaced and deleted bytes are dropped at once anyway."""
UNSUBMITTED_SECONDS = 3600.0
"""Seconds after which bytes in the spool that were not submitted never will be."""

_log = logging.getLogger(__name__)


class Cleanup:
    """Removes deleted and replaced data from the files of the data folder."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        answers: Answers,
        database: Database,
        spool: Spool,
        originals: Originals,
    ) -> None:
        self._catalog = catalog
        self._answers = answers
        self._database = database
        self._spool = spool
        self._originals = originals
        self._swept_at = self._trimmed_at = time.monotonic()

    async def sweep(self, *, older_than: float) -> None:
        """Drops files that nobody needs and that are at least so many seconds old.

        They are sent bytes that no task waits for, and originals that no document names.
        """
        if sent := await asyncio.to_thread(self._spool.keys, older_than=older_than):
            unwanted = sent - await self._catalog.documents.all_spooled()
            await asyncio.to_thread(self._spool.sweep, unwanted)
        if kept := await asyncio.to_thread(self._originals.keys, older_than=older_than):
            unnamed = await self._catalog.documents.unnamed(sorted(kept))
            await asyncio.to_thread(self._originals.sweep, unnamed)

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator[None]:
        """Removes such data again and again until the end of the block."""
        removing = asyncio.create_task(self._run())
        try:
            yield
        finally:
            removing.cancel()
            await asyncio.gather(removing, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(ROUND_SECONDS)
            try:
                await self._round()
            except RagError as error:
                _log.error("Deleted data is not removed from all files yet: %s", error.in_full())
            except Exception:  # noqa: BLE001 - the loop must go on
                _log.exception("Deleted data is not removed from all files yet")

    async def _round(self) -> None:
        await self._answers.forget_late(since=time.time() - LATE_SECONDS)
        if time.monotonic() - self._swept_at >= SWEEP_SECONDS:
            self._swept_at = time.monotonic()
            await self.sweep(older_than=UNSUBMITTED_SECONDS)
        if await self._database.trim():
            self._trimmed_at = time.monotonic()
        elif time.monotonic() - self._trimmed_at > FORGOTTEN_SECONDS:
            _log.warning(
                "The catalog's log still holds deleted text: another program has read the file for"
                " more than %g s. End it, or let it close the file.",
                FORGOTTEN_SECONDS,
            )
