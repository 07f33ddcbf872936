"""Texts in the index of a service that a test opened."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rag.build.service import Service
from rag.protocols import Queue
from rag.types import Scope


async def store(service: Service, queue: Queue, scope: Scope, texts: Sequence[str]) -> None:
    """Ingests each text as a document whose id is the text."""
    await service.ingest.check_collection(scope)
    spool = service.spool.of(scope.tenant)
    sent = [
        spool.put(json.dumps({"text": text}).encode(), uri=text, document_id_=text)
        for text in texts
    ]
    await service.catalog.jobs.submit(scope, sent)
    await queue.drain()
