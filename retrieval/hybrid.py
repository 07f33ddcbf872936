"""Hybrid retrieval: all legs in one round trip, fused into one ranking."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from rag.errors import UpstreamError
from rag.protocols import Embedder, Index, SparseEncoder, VersionedIndex
from rag.telemetry.trace import Trace
from rag.types import Float32Array, Hit, Leg, Match, Query, Scope, Source
from retrieval.fusion import RRF_K, Fused, rrf, summed

EMBED_SECONDS = 5.0
"""Seconds the embedder may take: after that BM25 alone is better than a late answer."""
Lists = Mapping[str, Sequence[Match]]
"""Matches by the name of their leg, best first."""
Found = tuple[list[Hit], bool]
"""Hits, and True if none of the chunks to fetch was gone."""


class HybridRetriever:
    """Dense and BM25 retrieval, fused by RRF."""

    def __init__(
        self,
        *,
        embedder: Embedder,
        encoder: SparseEncoder,
        index: VersionedIndex,
        depth: int,
        rrf_k: int = RRF_K,
        weights: Mapping[str, float] | None = None,
        seconds: float = EMBED_SECONDS,
    ) -> None:
        """Make a retriever.

        Args:
            embedder: for the dense leg.
            encoder: for the BM25 leg.
            index: holds both.
            depth: least number of candidates from each leg; `top_k` if that is larger.
            rrf_k: see `rrf`.
            weights: of the legs, by name, as for `rrf`; one of weight 0 is not searched.
            seconds: time limit of the embedder; after it the dense leg is left out.
        """
        self._embedder = embedder
        self._encoder = encoder
        self._index = index
        self._depth = depth
        self._rrf_k = rrf_k
        self._weights = weights or {}
        self._seconds = seconds

    async def retrieve(self, query: Query, trace: Trace) -> list[Hit]:
        """Returns at most `top_k` hits, best first, each with its rank in each leg.

        1. encode  2. search all legs  3. fuse  4. fetch the chunks. If the embedder fails or is
        late, BM25 answers alone and the trace records it.

        Raises:
            UpstreamError: The embedder fails or is late, and BM25 has no weight.
        """
        legs = await self.legs(query, trace)  # 1.

        async def attempt() -> Found:
            lists = await self.search(query.scope, legs, trace)  # 2.
            with trace.span("fuse"):
                fused = self.fuse(lists, query.top_k)  # 3.
            with trace.span("fetch"):
                return await hits_of(self._index, query.scope, fused, "fused")  # 4.

        return await until_whole(attempt)

    async def search(self, scope: Scope, legs: Sequence[Leg], trace: Trace) -> Lists:
        """Returns the legs' ranked lists, by name."""
        names = tuple(leg.name for leg in legs)
        with trace.span("search") as span:
            span.attributes["legs"] = names
            ranked = await self._index.search(scope, legs)
            span.attributes["matches"] = sum(map(len, ranked))
        # A reranker that searches again overwrites this: the hits are of its search.
        trace.note(legs=names, index_version=await self._index.version(scope))
        return {leg.name: matches for leg, matches in zip(legs, ranked, strict=True)}

    def fuse(self, lists: Lists, limit: int | None) -> list[Fused]:
        """Returns the best of the lists by RRF, at most `limit`; None: all."""
        ids = {name: [match.chunk_id for match in matches] for name, matches in lists.items()}
        return rrf(ids, k=self._rrf_k, weights=self._weights, limit=limit)

    def summed(self, lists: Lists, ids: Sequence[str]) -> Float32Array:
        """Sums the legs' scores of chunks, each leg by its weight; see `fusion.summed`."""
        return summed(lists, ids, weights=self._weights)

    async def legs(self, query: Query, trace: Trace) -> list[Leg]:
        """Returns the query, encoded for each leg that has a weight.

        The dense leg is left out if the embedder fails or is late, and there is another leg.
        """
        limit = max(self._depth, query.top_k)
        legs = []
        if self._counts("dense"):
            try:
                dense = await self._embed(query, trace)
                legs.append(Leg(name="dense", vector=dense, limit=limit, where=query.where))
            except UpstreamError as error:
                if not self._counts("sparse"):
                    raise
                trace.degrade("dense", error)
        if self._counts("sparse"):
            with trace.span("encode"):
                sparse = self._encoder.encode([query.text])[0]
                legs.append(Leg(name="sparse", vector=sparse, limit=limit, where=query.where))
        return legs

    def _counts(self, leg: str) -> bool:
        return self._weights.get(leg, 1.0) > 0

    async def _embed(self, query: Query, trace: Trace) -> Float32Array:
        vector: Float32Array
        with trace.span("embed", "embedding") as span:
            span.input = query.text
            span.attributes["model"] = self._embedder.fingerprint
            try:
                async with asyncio.timeout(self._seconds):
                    (vector,) = await self._embedder.embed([query.text], kind="query")
            except TimeoutError:
                raise UpstreamError(f"The embedder took more than {self._seconds:g} s.") from None
            return vector


async def hits_of(index: Index, scope: Scope, fused: Sequence[Fused], source: Source) -> Found:
    """Fetches the hits at these places, without chunks that no longer exist."""
    chunks = await index.fetch(scope, [place.chunk_id for place in fused])
    places = {place.chunk_id: place for place in fused}
    hits = [
        Hit(chunk=c, score=places[c.id].score, source=source, ranks=places[c.id].ranks)
        for c in chunks
    ]
    return hits, len(hits) == len(fused)


async def until_whole(attempt: Callable[[], Awaitable[Found]]) -> list[Hit]:
    """Returns the hits of an attempt, from search to fetch.

    If chunks were gone in between, because another version of the index took over or a document was
    deleted, it is tried once more, and that result is final.
    """
    hits, whole = await attempt()
    if not whole:
        hits, _ = await attempt()
    return hits
