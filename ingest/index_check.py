"""Compares catalog and index of a collection, document by document, and repairs differences."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ingest.document_check import Checker, Fault
from ingest.pipeline import IngestPipeline
from rag.catalog.catalog import Catalog
from rag.errors import BusyError, NotFoundError
from rag.protocols import PersistentIndex
from rag.records import DocumentRecord
from rag.types import Scope

MAX_LISTED_FAULTS = 100
"""Faults that a report lists one by one; it counts all of them."""


@dataclass(slots=True)
class Report:
    """Counts of a comparison: `faults` are the first ones, `counts` all of them by kind.

    `under_way` counts the documents that differ because a task has not written them yet. `repaired`
    counts those that agree after a repair.
    """

    documents: int = 0
    chunks: int = 0
    under_way: int = 0
    repaired: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """True if catalog and index agree now."""
        return self.counts.total() == self.repaired

    def note(self, fault: Fault) -> None:
        """Adds a fault to the report."""
        self.counts[fault.kind] += 1
        if len(self.faults) < MAX_LISTED_FAULTS:
            self.faults.append(fault)


class IndexCheck:
    """Compares, and on request repairs from the stored text."""

    def __init__(
        self, *, pipeline: IngestPipeline, index: PersistentIndex, catalog: Catalog
    ) -> None:
        self._pipeline = pipeline
        self._index = index
        self._catalog = catalog
        self._checker = Checker(index=index, catalog=catalog)

    async def run(self, scope: Scope, *, repair: bool, progress: Callable[[int], Any]) -> Report:
        """Compares all documents of a collection, a page at a time; others may go on writing.

        Raises:
            NotFoundError: There is no such collection.
            ConfigError: A repair is requested, and the collection was made with another embedder.
        """
        await self._catalog.collections.get(scope)
        if repair:
            await self._pipeline.check_collection(scope)
        report = Report()
        async for records in self._checker.records(scope):
            for record in records:
                report.documents += 1
                report.chunks += record.chunks
                await self._check_document(scope, record, report, repair=repair)
            progress(report.documents)
        async for document_id in self._checker.orphans(scope):
            await self._check_orphan(scope, document_id, report, repair=repair)
        return report

    async def _check_document(
        self, scope: Scope, record: DocumentRecord, report: Report, *, repair: bool
    ) -> None:
        if await self._checker.fault_of(scope, record) is None:
            return
        async with self._pipeline.settler.settled(scope, record.id):  # nobody works on it now
            try:
                record = await self._catalog.documents.get(scope, record.id)
            except NotFoundError:
                return
            fault = await self._checker.fault_of(scope, record)
        if fault is None:
            return
        if record.state in ("pending", "running"):
            report.under_way += 1
            return
        report.note(fault)
        if repair:
            await self._settle(scope, record.id)
            report.repaired += await self._is_stored(scope, record)

    async def _is_stored(self, scope: Scope, before: DocumentRecord) -> bool:
        """True if a document agrees, and was not lost, after its repair."""
        with contextlib.suppress(NotFoundError):
            record = await self._catalog.documents.get(scope, before.id)
            kept = record.version == before.version
            return kept and await self._checker.fault_of(scope, record) is None
        return True

    async def _check_orphan(
        self, scope: Scope, document_id: str, report: Report, *, repair: bool
    ) -> None:
        async with self._pipeline.settler.settled(scope, document_id):
            known = await self._catalog.documents.known(scope, [document_id])
            ids = await self._index.chunk_ids(scope, document_id)
        if known or not ids:
            return
        report.note(
            Fault(document_id=document_id, uri="", kind="orphan", chunks=len(ids), expected=0)
        )
        if repair:
            await self._settle(scope, document_id)
            report.repaired += not await self._index.chunk_ids(scope, document_id)

    async def _settle(self, scope: Scope, document_id: str) -> None:
        await self._catalog.unsettled.add(scope, document_id)
        mark = await self._catalog.unsettled.of(scope, document_id)
        with contextlib.suppress(BusyError):  # its worker, or the next check, sees the mark
            if mark is not None:
                await self._pipeline.settler.settle(mark)
