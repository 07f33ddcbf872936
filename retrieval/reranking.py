"""Hybrid retrieval that reranks its best candidates."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rag.errors import UpstreamError
from rag.protocols import Reranker, SparseEncoder, StoredIndex
from rag.telemetry.trace import Trace
from rag.text.passages import passage_text
from rag.types import Chunk, Float32Array, Hit, Leg, Match, Query, Source
from retrieval.fusion import Fused, standard
from retrieval.hybrid import Found, HybridRetriever, Lists, hits_of, until_whole
from retrieval.relevance_feedback import PASSAGES, expand

Combine = Literal["sum", "rrf", "replace"]
POOL = 30
"""Chunks ordered anew, at least: the judged ones, and the best of the others."""
FIRST_WEIGHT, LAST_WEIGHT = 2.0, 1.5
"""Weights of the reranker, beside legs that count 1: for choosing the passages for feedback, and
afterwards, when the legs have learned part of its judgement."""
UNJUDGED = -0.5
"""Score of a chunk that was not judged, in standard deviations of those that were."""
RERANK = "rerank"


@dataclass(frozen=True, slots=True)
class _Judged:
    chunks: Sequence[Chunk]
    scores: Float32Array

    def of(self, ids: Sequence[str]) -> Float32Array:
        """Returns standardised scores of chunks, judged or not."""
        place = {chunk.id: i for i, chunk in enumerate(self.chunks)}
        own = standard(self.scores)
        return np.array([own[place[i]] if i in place else UNJUDGED for i in ids], np.float32)

    def ranked(self) -> list[Match]:
        """Returns the scores as a leg's list: best first, ties by id."""
        pairs = zip(self.chunks, self.scores.tolist(), strict=True)
        matches = [Match(chunk.id, score) for chunk, score in pairs]
        return sorted(matches, key=lambda match: (-match.score, match.chunk_id))


class RerankingRetriever:
    """Reranks the best candidates, learns from them, searches again, and orders all by both."""

    def __init__(
        self,
        *,
        hybrid: HybridRetriever,
        reranker: Reranker,
        index: StoredIndex,
        encoder: SparseEncoder,
        depth: int,
        combine: Combine,
        feedback: bool,
        seconds: float,
    ) -> None:
        """Make a retriever.

        Args:
            hybrid: finds candidates.
            reranker: judges them.
            index: holds them.
            encoder: makes the terms that feedback adds to the BM25 leg.
            depth: number of candidates to judge.
            combine: "sum": standardised scores of the legs and the reranker are added; "rrf": its
                order is one more list; "replace": its order alone counts, and nothing is searched
                again.
            feedback: True: the best passages extend the question.
            seconds: time limit of judging; after it, hits are as the legs found them.
        """
        self._hybrid = hybrid
        self._reranker = reranker
        self._index = index
        self._encoder = encoder
        self._depth = depth
        self._combine = combine
        self._feedback = feedback
        self._seconds = seconds

    async def retrieve(self, query: Query, trace: Trace) -> list[Hit]:
        """Returns at most `top_k` hits, best first, with their ranks in each leg and the reranker.

        1. search both legs, fuse, fetch  2. judge the best  3. search again, extended by them  4.
        order all. If the reranker fails or is late, hits are those of step 1, and the trace records
        it.
        """
        legs = await self._hybrid.legs(query, trace)

        async def attempt() -> Found:
            lists = await self._hybrid.search(query.scope, legs, trace)  # 1.
            with trace.span("fuse"):
                fused = self._hybrid.fuse(lists, max(query.top_k, self._depth))
            # If its order alone counts, the reranker reads all requested hits.
            depth = len(fused) if self._combine == "replace" else self._depth
            found, all_read = await self._fetch(query, fused[:depth], trace)
            if not found:
                return found, all_read
            judged = await self._judge(query, [hit.chunk for hit in found], trace)  # 2.
            if judged is None:
                return await self._fetch(query, fused[: query.top_k], trace)
            if self._feedback and self._combine != "replace":  # 3.
                wider = await self._expand(query, legs, lists, judged)
                lists = await self._hybrid.search(query.scope, wider, trace)
            with trace.span("fuse"):
                best = self._order(lists, judged, query.top_k)  # 4.
            hits, all_there = await self._fetch(query, best, trace, "reranked")
            return hits, all_read and all_there

        return await until_whole(attempt)

    async def _fetch(
        self, query: Query, places: Sequence[Fused], trace: Trace, source: Source = "fused"
    ) -> Found:
        with trace.span("fetch"):
            return await hits_of(self._index, query.scope, places, source)

    async def _judge(self, query: Query, chunks: Sequence[Chunk], trace: Trace) -> _Judged | None:
        try:
            with trace.span(RERANK) as span:
                span.attributes["candidates"] = len(chunks)
                async with asyncio.timeout(self._seconds):
                    return _Judged(chunks, await self._reranker.score(query, chunks))
        except TimeoutError:
            trace.degrade(RERANK, f"It took more than {self._seconds:g} s.")
        except UpstreamError as error:
            trace.degrade(RERANK, error)
        return None

    async def _expand(
        self, query: Query, legs: Sequence[Leg], lists: Lists, judged: _Judged
    ) -> list[Leg]:
        ids = [chunk.id for chunk in judged.chunks]
        scores = self._hybrid.summed(lists, ids) + FIRST_WEIGHT * standard(judged.scores)
        vectors = await self._index.vectors(query.scope, ids)
        best = [i for i in np.argsort(-scores, kind="stable") if ids[i] in vectors][:PASSAGES]
        if not best:
            return list(legs)
        bags = self._encoder.encode([passage_text(judged.chunks[i]) for i in best])
        return expand(legs, scores[best], np.stack([vectors[ids[i]] for i in best]), bags)

    def _order(self, lists: Lists, judged: _Judged, limit: int) -> list[Fused]:
        everything = {**lists, RERANK: judged.ranked()}
        if self._combine == "rrf":
            return self._hybrid.fuse(everything, limit)
        if self._combine == "replace":
            ids, scores = [chunk.id for chunk in judged.chunks], judged.scores
        else:
            pool = [place.chunk_id for place in self._hybrid.fuse(lists, max(limit, POOL))]
            ids = list(dict.fromkeys([*pool, *(chunk.id for chunk in judged.chunks)]))
            scores = self._hybrid.summed(lists, ids) + LAST_WEIGHT * judged.of(ids)
        ranks = {place.chunk_id: place.ranks for place in self._hybrid.fuse(everything, None)}
        best = sorted(zip((-scores).tolist(), ids, strict=True))[:limit]
        return [Fused(chunk_id, -score, ranks[chunk_id]) for score, chunk_id in best]
