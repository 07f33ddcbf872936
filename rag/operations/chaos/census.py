"""The fate of a load's documents: none may be lost, and none may be stored twice."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from rag.client import AsyncClient, ConflictError
from rag.operations.chaos.steady_load import COLLECTION, Load
from rag.operations.synthetic.phrase import Phrase

SETTLE_SECONDS = 120.0
"""Longest time from the end of the load until all documents are done."""
_AT_ONCE = 4
_TOP_K = 10
_PAUSE = 0.5


@dataclass(slots=True)
class Census:
    """Numbers of documents.

    Attributes:
        accepted: by the service, of which each must be there once.
        retried: failed by themselves, and were tried again by a call, as an operator would.
        lost: accepted, and not stored or not found.
        doubled: found more than once.
        strange: there, and never sent.
        settled_seconds: from the end of the load until all were done.
    """

    accepted: int = 0
    retried: int = 0
    lost: int = 0
    doubled: int = 0
    strange: int = 0
    settled_seconds: float = 0.0


async def census(client: AsyncClient, load: Load) -> Census:
    """Waits until all documents are done, and counts them; at most `SETTLE_SECONDS`."""
    counts = Census(accepted=len(load.accepted))
    began = asyncio.get_running_loop().time()
    with contextlib.suppress(TimeoutError):  # what is not done by then is lost
        async with asyncio.timeout(SETTLE_SECONDS):
            await _settled(client)
            counts.retried = await _retry(client, load)
            await _settled(client)
    counts.settled_seconds = asyncio.get_running_loop().time() - began
    states = {d.id: d.state async for d in client.all_documents(collection=COLLECTION)}
    counts.strange = len(states.keys() - load.accepted.keys() - load.unsure)
    turns = asyncio.Semaphore(_AT_ONCE)
    stored = [each for each in load.accepted.values() if states.get(each.id) == "succeeded"]
    found = await asyncio.gather(*(_times(client, each, turns) for each in stored))
    counts.lost = counts.accepted - len(stored) + sum(not n for n in found)
    counts.doubled = sum(n > 1 for n in found)
    return counts


async def _settled(client: AsyncClient) -> None:
    for state in ("pending", "running"):
        open_ = True
        while open_:
            page = await client.list_documents(collection=COLLECTION, state=state, limit=1)
            if open_ := bool(page.items):
                await asyncio.sleep(_PAUSE)


async def _retry(client: AsyncClient, load: Load) -> int:
    """Has the failed documents of all jobs tried again; returns their number."""
    retried = 0
    for job_id in load.jobs:
        if failed := (await client.get_job(job_id)).counts["failed"]:
            with contextlib.suppress(ConflictError):  # a newer job has the document
                await client.retry_job(job_id)
                retried += failed
    return retried


async def _times(client: AsyncClient, phrase: Phrase, turns: asyncio.Semaphore) -> int:
    """Returns how often the index has a document: the larger of its hits and its chunks."""
    async with turns:
        hits = (await client.search(phrase.text, collection=COLLECTION, top_k=_TOP_K)).hits
        found = sum(hit.document_id == phrase.id for hit in hits)
        chunks = await client.list_chunks(phrase.id, collection=COLLECTION)
    return max(found, len(chunks.items)) if found else 0
