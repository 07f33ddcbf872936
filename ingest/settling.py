"""Finishes work that a kill interrupted: at the start of a process, and while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from ingest.pipeline import IngestPipeline
from rag.catalog.catalog import Catalog
from rag.catalog.unsettled import Mark
from rag.errors import BusyError, NotFoundError, StorageError, UpstreamError, for_log
from rag.protocols import VersionedIndex
from rag.types import Scope

EVERY_SECONDS = 10.0
"""Seconds between checks: another process may have been killed."""
FIRST_SECONDS = 10.0
"""Seconds that a starting process waits for its first check, at most: switches and deletions come
first, and documents to embed again may take minutes."""
PAGE = 100
"""Marks read at once."""

_log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def settling(
    *, pipeline: IngestPipeline, index: VersionedIndex, catalog: Catalog
) -> AsyncIterator[None]:
    """Finishes open work, and checks again from time to time until the end of the block.

    The block begins after the first check, or during it if it takes long. Any number of processes
    may do this at once.
    """
    causes = Causes()
    checked = asyncio.Event()

    async def check() -> None:
        while True:
            try:
                await settle(pipeline=pipeline, index=index, catalog=catalog, causes=causes)
            except Exception as error:  # noqa: BLE001 - it is tried again, and the block goes on
                causes.log_once("Unfinished work is tried again later", error)
            causes.next_round()
            checked.set()
            await asyncio.sleep(EVERY_SECONDS)

    checking = asyncio.create_task(check())
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_SECONDS):
                await checked.wait()
        yield
    finally:
        checking.cancel()
        await asyncio.gather(checking, return_exceptions=True)


class Causes:
    """Causes that keep work open: each is logged once for as long as it lasts."""

    def __init__(self) -> None:
        self._before: set[str] = set()
        self._now: set[str] = set()

    def log_once(self, work: str, error: Exception) -> None:
        """Logs the cause, with the first work that it kept open."""
        message, bug = for_log(error)
        if message not in self._before | self._now:
            _log.error("%s: %s", work, message, exc_info=bug)
        self._now.add(message)

    def next_round(self) -> None:
        """Forgets the causes that did not occur again."""
        self._before, self._now = self._now, set()


async def settle(
    *,
    pipeline: IngestPipeline,
    index: VersionedIndex,
    catalog: Catalog,
    causes: Causes | None = None,
) -> None:
    """Finishes removals, switches and deletions; brings documents in step that no task will write.

    Failures are reported to `causes` and their work stays open; documents that others work on are
    left to them.

    Raises:
        UpstreamError: Catalog, index or embedder cannot be reached; the remaining work stays open.
    """
    causes = causes or Causes()
    try:
        await pipeline.removal.finish()
    except StorageError as error:  # other work goes on
        causes.log_once("A collection is not removed yet", error)
    for scope in await catalog.staged.scopes():
        with contextlib.suppress(BusyError):
            async with catalog.alone(scope, "reindex", wait=False):
                await finish_switch(catalog, index, scope)
    for deleted in (True, False):  # those that inherit a deleted document's chunks come after it
        after: Mark | None = None
        while marks := await catalog.unsettled.abandoned(deleted=deleted, after=after, limit=PAGE):
            for mark in marks:
                await _settle(pipeline, catalog, mark, causes)
            after = marks[-1]


async def _settle(pipeline: IngestPipeline, catalog: Catalog, mark: Mark, causes: Causes) -> None:
    try:
        with contextlib.suppress(NotFoundError):  # of a removed collection nothing is embedded
            await catalog.collections.check_exists(mark.scope)
            await pipeline.check_collection(mark.scope)
        await pipeline.settler.settle(mark)
    except BusyError:
        return
    except UpstreamError:
        raise
    except Exception as error:  # noqa: BLE001 - one document's crash is its own
        causes.log_once(f"Document {mark.document_id} stays half done", error)


async def finish_switch(catalog: Catalog, index: VersionedIndex, scope: Scope) -> None:
    """Records a switch that was made in the index only; drops one that was never made.

    The caller holds the collection's lock for reindexing.
    """
    switch = await catalog.staged.of(scope)
    if switch is None:
        return
    if await index.name_of(scope) != switch.version:
        await catalog.staged.drop(scope)
        return
    async with catalog.versions.switching(scope, switch.cuts, embedder=switch.embedder):
        """The index was switched before."""
