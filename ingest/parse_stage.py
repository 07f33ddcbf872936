"""The first stage of ingestion, if another process does the rest."""

from __future__ import annotations

import asyncio

from ingest import attachments
from ingest.document_trace import DocumentTraces, note
from ingest.retries import attempt, drop_unwanted
from ingest.sources.files import Spool
from ingest.turns import reading_for
from rag.catalog.catalog import Catalog
from rag.protocols import Reader
from rag.records import Task
from rag.telemetry.trace import Trace


class Parsing:
    """Reads documents and stores their content in the catalog, for the process that embeds them."""

    def __init__(
        self,
        *,
        reader: Reader,
        catalog: Catalog,
        spool: Spool,
        traces: DocumentTraces,
        seconds: float | None = None,
    ) -> None:
        """Make a parser; a document that takes more than `seconds` fails."""
        self._reader = reader
        self._catalog = catalog
        self._spool = spool
        self._traces = traces
        self._seconds = seconds

    async def parse(self, task: Task, *, wait: bool = True) -> None:
        """Reads one document; it fails as in `IngestPipeline.ingest`.

        Raises:
            BusyError: Another worker has this document, and `wait` is False.
        """
        done = await attempt(
            self._catalog,
            task,
            self._parse,
            wait=wait,
            seconds=self._seconds,
            traces=self._traces,
        )
        if not done:
            await drop_unwanted(self._catalog, self._spool, task)

    async def _parse(self, task: Task, trace: Trace) -> None:
        with trace.span("read"):
            spool = self._spool.of(task.scope.tenant)
            path = spool.path(task.source)
            with reading_for(task.job_id, bulk=task.bulk):
                document = await self._reader.read(
                    task.source, path, id_=task.document_id, uri=task.uri
                )
        note(trace, document)
        with trace.span("commit"):
            attached = attachments.submissions(task, document, spool)
            await asyncio.to_thread(attachments.store, document, attached, spool)
            await self._catalog.tasks.parsed(task, document, attachments=attached)
        trace.outcome = "parsed"
