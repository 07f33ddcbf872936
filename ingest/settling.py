"""Finishes what a kill has left half done: at the start of a process, and while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from ingest.pipeline import IngestPipeline
from rag.catalog import Catalog
from rag.errors import BusyError, UpstreamError, for_log
from rag.protocols import StoredIndex
from rag.types import Scope
from rag.unsettled import Mark

EVERY_SECONDS = 10.0
"""Between two looks: another process may have been killed."""
PAGE = 100
"""Marks read at once."""

_log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def settling(
    *, pipeline: IngestPipeline, index: StoredIndex, catalog: Catalog
) -> AsyncIterator[None]:
    """Finishes what is open, then looks again from time to time until the end of the block.

    Any number of processes may do so at once.
    """

    async def look() -> None:
        try:
            await settle(pipeline=pipeline, index=index, catalog=catalog)
        except Exception as error:  # noqa: BLE001 - it is tried again, and the rest can go on
            told, bug = for_log(error)
            _log.error("What is half done stays so for now: %s", told, exc_info=bug)

    async def again() -> None:
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            await look()

    await look()
    looking = asyncio.create_task(again())
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def settle(*, pipeline: IngestPipeline, index: StoredIndex, catalog: Catalog) -> None:
    """Finishes switches and deletions, and brings documents in step that no task will write.

    What fails is told in the log and stays open; what others work on is left to them.

    Raises:
        UpstreamError: catalog, index or embedder are away; what is left stays open.
    """
    for scope in await catalog.staged.scopes():
        with contextlib.suppress(BusyError):
            async with catalog.alone(scope, "reindex", wait=False):
                await finish_switch(catalog, index, scope)
    for deleted in (True, False):  # those that inherit a deleted document's chunks come after it
        after: Mark | None = None
        while marks := await catalog.unsettled.abandoned(deleted=deleted, after=after, limit=PAGE):
            for mark in marks:
                await _settle(pipeline, mark)
            after = marks[-1]


async def _settle(pipeline: IngestPipeline, mark: Mark) -> None:
    try:
        await pipeline.settle(mark)
    except BusyError:
        return
    except UpstreamError:
        raise
    except Exception as error:  # noqa: BLE001 - one document's crash is its own
        told, bug = for_log(error)
        _log.error("Document %s stays half done: %s", mark.document_id, told, exc_info=bug)


async def finish_switch(catalog: Catalog, index: StoredIndex, scope: Scope) -> None:
    """Records a switch that was made in the index and not in the catalog; drops one never made.

    The caller is alone to reindex the collection.
    """
    switch = await catalog.staged.of(scope)
    if switch is None:
        return
    if await index.name_of(scope) != switch.version:
        await catalog.staged.drop(scope)
        return
    async with catalog.switching(scope, switch.cuts, embedder=switch.embedder):
        """The index was switched before."""
