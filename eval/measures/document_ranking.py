"""Ranks documents by their best chunks, from as many chunks as fill the ranking."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from rag.telemetry.trace import Experiment, Trace
from rag.types import Hit, Query, SearchResult

MOST = 32
"""Chunks asked for are at most this many times the documents wanted."""
Search = Callable[[Query, Trace], Awaitable[SearchResult]]


@dataclass(frozen=True, slots=True)
class RankedDocuments:
    """Document ids, best first, and how many chunks were asked for to find them."""

    ids: tuple[str, ...]
    chunks_asked: int


async def rank_documents(
    search: Search, query: Query, hits: Sequence[Hit], experiment: Experiment | None
) -> RankedDocuments:
    """Returns the first `query.top_k` documents, or fewer if a search finds no more.

    The documents of `hits`, the answer's own, come first. If several chunks are of one document,
    the same question is searched for again with twice as many chunks, until there are enough.
    These searches have separate traces, so they are in no timing of the answer.
    """
    wanted = depth = query.top_k
    chunks = list(hits)
    while _count(chunks) < wanted and len(hits) >= depth and depth < MOST * wanted:
        depth *= 2
        result = await search(replace(query, top_k=depth), Trace(experiment=experiment))
        hits = result.hits
        chunks += hits
    ids = dict.fromkeys(hit.chunk.document_id for hit in chunks)
    return RankedDocuments(tuple(ids)[:wanted], depth)


def _count(chunks: Sequence[Hit]) -> int:
    return len({hit.chunk.document_id for hit in chunks})
