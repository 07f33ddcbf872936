"""Encodes a query for each leg of a search."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple

from rag.errors import UpstreamError
from rag.protocols import Embedder, SparseEncoder, VectorCache
from rag.telemetry.trace import Trace
from rag.types import Float32Array, Leg, Query

EMBED_SECONDS = 5.0
"""Seconds the embedder may take: after that BM25 alone is better than a late answer."""
Reads = Callable[[str], bool]
"""Returns True if the embedder can read a text."""


class EncodedQuery(NamedTuple):
    """The legs to search, and what was left out of them, as in `Answer.degraded`.

    `is_read` is False if the embedder cannot read the question; then BM25 is the only leg.
    """

    legs: list[Leg]
    degraded: tuple[str, ...] = ()
    is_read: bool = True


class QueryEncoder:
    """Encodes a query as a dense vector and as BM25 terms."""

    def __init__(
        self,
        *,
        embedder: Embedder,
        encoder: SparseEncoder,
        depth: int,
        weights: Mapping[str, float],
        seconds: float,
        reads: Reads | None = None,
        cache: VectorCache | None = None,
    ) -> None:
        """Make an encoder; see `HybridRetriever` for its arguments."""
        self._embedder = embedder
        self._encoder = encoder
        self._depth = depth
        self._weights = weights
        self._seconds = seconds
        self._reads = reads
        self._cache = cache

    async def encode(self, query: Query, trace: Trace) -> EncodedQuery:
        """Returns a leg for each kind of search that has a weight.

        The dense leg is left out if there is another leg, and the embedder cannot read the
        question, fails or is late.

        Raises:
            UpstreamError: The embedder fails or is late, and BM25 has no weight.
        """
        limit = max(self._depth, query.top_k)
        legs: list[Leg] = []
        degraded: tuple[str, ...] = ()
        is_read = not self._has_weight("sparse") or not self._reads or self._reads(query.text)
        if self._has_weight("dense") and is_read:
            try:
                dense, degraded = await self._embed(query, trace)
                legs.append(Leg(name="dense", vector=dense, limit=limit, where=query.where))
            except UpstreamError as error:
                if not self._has_weight("sparse"):
                    raise
                degraded = (trace.degrade("dense", error),)
        if self._has_weight("sparse"):
            with trace.span("encode") as span:
                if not is_read:
                    span.attributes["left_out"] = "dense: the embedder does not know the script"
                sparse = self._encoder.encode([query.text])[0]
                legs.append(Leg(name="sparse", vector=sparse, limit=limit, where=query.where))
        return EncodedQuery(legs, degraded, is_read)

    def _has_weight(self, leg: str) -> bool:
        return self._weights.get(leg, 1.0) > 0

    async def _embed(self, query: Query, trace: Trace) -> tuple[Float32Array, tuple[str, ...]]:
        with trace.span("embed", "embedding") as span:
            span.input = query.text
            span.attributes["model"] = self._embedder.fingerprint
            try:
                async with asyncio.timeout(self._seconds):
                    return await self._vector(query, trace)
            except TimeoutError:
                raise UpstreamError(f"The embedder took more than {self._seconds:g} s.") from None

    async def _vector(self, query: Query, trace: Trace) -> tuple[Float32Array, tuple[str, ...]]:
        if self._cache is None:
            return (await self._embedder.embed([query.text], kind="query"))[0], ()
        vectors, fault = await self._cache.embed(
            self._embedder, [query.text], kind="query", tenant=query.scope.tenant
        )
        return vectors[0], (trace.degrade("model_cache", fault),) if fault else ()
