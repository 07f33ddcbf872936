"""Both legs, one round trip, one ranking."""

from __future__ import annotations

from collections.abc import Sequence

from rag.errors import UpstreamError
from rag.protocols import Embedder, Index, SparseEncoder
from rag.telemetry import Trace
from rag.types import Chunk, Hit, Leg, Query
from retrieval.fusion import RRF_K, Fused, rrf


class HybridRetriever:
    """Dense and BM25 retrieval, fused by RRF."""

    def __init__(
        self,
        *,
        embedder: Embedder,
        encoder: SparseEncoder,
        index: Index,
        depth: int,
        rrf_k: int = RRF_K,
    ) -> None:
        """Make a retriever.

        Args:
            embedder: for the dense leg.
            encoder: for the BM25 leg.
            index: holds both.
            depth: candidates each leg brings, at least; `top_k` where that is more.
            rrf_k: see `rrf`.
        """
        self._embedder = embedder
        self._encoder = encoder
        self._index = index
        self._depth = depth
        self._rrf_k = rrf_k

    async def retrieve(self, query: Query, trace: Trace) -> list[Hit]:
        """At most `top_k` hits, best first, each with its rank in each leg.

        1. encode  2. search both legs  3. fuse  4. fetch what survived. Where the embedder fails,
        BM25 answers alone and the trace says so. Where another version of the index took over
        between 2 and 4, what was found is no longer there: it is searched once more.
        """
        legs = await self._legs(query, trace)  # 1.
        fused, chunks = await self._search(query, legs, trace)
        if len(chunks) < len(fused):
            fused, chunks = await self._search(query, legs, trace)
        places = {f.chunk_id: f for f in fused}
        return [
            Hit(
                chunk=chunk,
                score=places[chunk.id].score,
                source="fused",
                ranks=places[chunk.id].ranks,
            )
            for chunk in chunks
        ]

    async def _search(
        self, query: Query, legs: Sequence[Leg], trace: Trace
    ) -> tuple[list[Fused], list[Chunk]]:
        with trace.span("search"):
            ranked = await self._index.search(query.scope, legs)  # 2.
        with trace.span("fuse"):
            lists: dict[str, list[str]] = {
                leg.name: [match.chunk_id for match in matches]
                for leg, matches in zip(legs, ranked, strict=True)
            }
            fused = rrf(lists, k=self._rrf_k, limit=query.top_k)  # 3.
        with trace.span("fetch"):
            chunks = await self._index.fetch(query.scope, [f.chunk_id for f in fused])  # 4.
        return fused, chunks

    async def _legs(self, query: Query, trace: Trace) -> list[Leg]:
        limit = max(self._depth, query.top_k)
        legs = []
        with trace.span("embed"):
            try:
                dense = (await self._embedder.embed([query.text], kind="query"))[0]
            except UpstreamError as error:
                trace.degrade("dense", str(error))
            else:
                legs.append(Leg(name="dense", vector=dense, limit=limit, where=query.where))
        with trace.span("encode"):
            sparse = self._encoder.encode([query.text])[0]
            legs.append(Leg(name="sparse", vector=sparse, limit=limit, where=query.where))
        return legs
