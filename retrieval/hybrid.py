"""Hybrid retrieval: encodes a query, searches, fuses, reranks and diversifies, in this order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rag.protocols import Embedder, SparseEncoder, StoredIndex, VectorCache
from rag.telemetry.trace import Trace
from rag.text.quoted import quoted_last
from rag.types import Float32Array, Hit, Leg, Query, Retrieved, Scope, Source
from retrieval.duplicates import without_duplicates
from retrieval.exact_matches import exact_first
from retrieval.fusion import RRF_K, Fused, Fusion, Lists, followed
from retrieval.hops import with_hops
from retrieval.mmr import mmr, widened
from retrieval.query_encoder import EMBED_SECONDS, EncodedQuery, QueryEncoder, Reads
from retrieval.relevance_feedback import Feedback
from retrieval.reranking import Reranking


@dataclass(frozen=True, slots=True)
class _Candidates:
    """The result of a search: what was searched, each leg's matches, and their fusion."""

    legs: Sequence[Leg]
    lists: Lists
    fused: list[Fused]


@dataclass(frozen=True, slots=True)
class _Ranked:
    """Hits, best first; `complete` is False if chunks were gone when they were fetched."""

    hits: list[Hit]
    complete: bool
    degraded: tuple[str, ...] = ()


class HybridRetriever:
    """Dense and BM25 retrieval fused by RRF, then reranked and diversified if that is wanted."""

    def __init__(
        self,
        *,
        embedder: Embedder,
        encoder: SparseEncoder,
        index: StoredIndex,
        depth: int,
        rrf_k: int = RRF_K,
        weights: Mapping[str, float] | None = None,
        seconds: float = EMBED_SECONDS,
        reads: Reads | None = None,
        reranking: Reranking | None = None,
        hops: int = 0,
        diversity: float = 0.0,
        cache: VectorCache | None = None,
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
            reads: True if the embedder can read a question; None: it reads all. One that it cannot
                read is searched for by BM25, if that has a weight, and the embedder reranks
                nothing.
            reranking: scores the best candidates and orders all by it; None: RRF alone orders.
            cache: keeps the vectors of questions; None: they are embedded anew.
            hops: number of the best hits whose names are searched for, see `with_hops`.
            diversity: 0 to 1, the weight of difference against relevance, see `mmr`; 0: hits may
                say the same.
        """
        weights = weights or {}
        self._query_encoder = QueryEncoder(
            embedder=embedder,
            encoder=encoder,
            depth=depth,
            weights=weights,
            seconds=seconds,
            reads=reads,
            cache=cache,
        )
        self._encoder = encoder
        self._index = index
        self._fusion = Fusion(k=rrf_k, weights=weights)
        self._reranking = reranking
        self._feedback = Feedback(encoder)
        self._hops = hops
        self._diversity = diversity

    async def retrieve(self, query: Query, trace: Trace) -> Retrieved:
        """Returns at most `top_k` hits, best first, each with its rank in each leg.

        1. encode  2. search, fuse and rerank  3. put exact matches first  4. search for what the
        best hits name  5. diversify. The last two are done if they are wanted. If chunks are gone
        between search and fetch, because another version of the index took over or a document was
        deleted, step 2 is done once more, and that result is final. If the embedder fails or is
        late, BM25 answers alone; if the reranker fails or is late, hits are as they were fused. Of
        passages that say the same one is a hit. What a mail quotes comes below the new text of its
        conversation.

        Raises:
            UpstreamError: The embedder fails or is late, and BM25 has no weight.
        """
        wanted = widened(query) if self._diversity else query
        encoded = await self._query_encoder.encode(wanted, trace)  # 1.
        degraded = encoded.degraded
        for _ in range(2):
            ranked = await self._rank(wanted, encoded, trace)  # 2.
            degraded += ranked.degraded
            if ranked.complete:
                break
        hits = ranked.hits
        hits = await exact_first(
            wanted, hits, trace, index=self._index, encoder=self._encoder
        )  # 3.
        if self._hops:
            hits = await with_hops(
                wanted, hits, trace, hops=self._hops, index=self._index, encoder=self._encoder
            )  # 4.
        if self._diversity:
            hits = await self._diversify(query, hits, trace)  # 5.
        return Retrieved(hits=tuple(quoted_last(hits)), degraded=degraded)

    async def _rank(self, query: Query, encoded: EncodedQuery, trace: Trace) -> _Ranked:
        lists = await self._search(query.scope, encoded.legs, trace)
        fused = self._fuse(lists, trace)
        reranking = self._reranking
        if reranking is None or (reranking.by_embedder and not encoded.is_read):
            return await self._fetch_best(query, fused, query.top_k, "fused", trace)
        candidates = _Candidates(encoded.legs, lists, fused)
        return await self._rerank(reranking, query, candidates, trace)

    async def _rerank(
        self, reranking: Reranking, query: Query, candidates: _Candidates, trace: Trace
    ) -> _Ranked:
        """Orders candidates anew.

        1. fetch the best  2. score them  3. search again, extended by them  4. order all, and fetch
        """
        lists, fused = candidates.lists, candidates.fused
        depth = reranking.depth_of(query)
        read = await self._fetch_best(query, fused, depth, "fused", trace)  # 1.
        if not read.hits:
            return read
        chunks = [hit.chunk for hit in read.hits]
        judged, degraded = await reranking.judge(query, chunks, trace)  # 2.
        if judged is None:
            plain = await self._fetch_best(query, fused, query.top_k, "fused", trace)
            return replace(plain, degraded=degraded)
        vectors: dict[str, Float32Array] = {}
        if reranking.feedback:  # 3.
            scores = reranking.feedback_scores(lists, judged, self._fusion)
            vectors = await self._index.vectors(query.scope, [chunk.id for chunk in chunks])
            legs = self._feedback.extend(candidates.legs, chunks, scores, vectors)
            lists = await self._search(query.scope, legs, trace)
        with trace.span("fuse"):  # 4.
            fused = self._fusion.fuse(lists, None)
            pool = reranking.pool(fused, judged, query.top_k)
            if reranking.smooths(lists):
                unread = [chunk_id for chunk_id in pool if chunk_id not in vectors]
                vectors |= await self._index.vectors(query.scope, unread)
            best = reranking.order(pool, lists, judged, self._fusion, vectors)
            best = followed(best, fused)  # in the places of copies
        ranked = await self._fetch_best(query, best, query.top_k, "reranked", trace)
        return replace(ranked, complete=read.complete and ranked.complete)

    async def _search(self, scope: Scope, legs: Sequence[Leg], trace: Trace) -> Lists:
        names = tuple(leg.name for leg in legs)
        with trace.span("search") as span:
            span.attributes["legs"] = names
            ranked = await self._index.search(scope, legs)
            span.attributes["matches"] = sum(map(len, ranked))
        # A second search overwrites this: the hits are of that search.
        trace.note(legs=names, index_version=await self._index.version(scope))
        return {leg.name: matches for leg, matches in zip(legs, ranked, strict=True)}

    def _fuse(self, lists: Lists, trace: Trace) -> list[Fused]:
        with trace.span("fuse"):
            return self._fusion.fuse(lists, None)

    async def _fetch_best(
        self, query: Query, ranked: Sequence[Fused], limit: int, source: Source, trace: Trace
    ) -> _Ranked:
        """Fetches the best chunks, at most `limit`; of those that say the same, one."""
        hits: list[Hit] = []
        fetched = found = 0
        with trace.span("fetch"):
            while len(hits) < limit and found == fetched < len(ranked):
                part = ranked[fetched : fetched + max(limit, fetched)]
                more = await self._fetch(query.scope, part, source)
                hits = without_duplicates([*hits, *more])
                fetched += len(part)
                found += len(more)
        return _Ranked(hits[:limit], complete=found == fetched)

    async def _fetch(self, scope: Scope, part: Sequence[Fused], source: Source) -> list[Hit]:
        chunks = await self._index.fetch(scope, [place.chunk_id for place in part])
        places = {place.chunk_id: place for place in part}
        return [
            Hit(chunk=c, score=places[c.id].score, source=source, ranks=places[c.id].ranks)
            for c in chunks
        ]

    async def _diversify(self, query: Query, hits: Sequence[Hit], trace: Trace) -> list[Hit]:
        with trace.span("diversify"):
            vectors = await self._index.vectors(query.scope, [hit.chunk.id for hit in hits])
            return mmr(hits, vectors, diversity=self._diversity, limit=query.top_k)
