"""Reranking: scores the best candidates, and orders all by the legs' scores and these."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rag.errors import UpstreamError
from rag.protocols import Reranker, ScoreCache
from rag.telemetry.trace import Trace
from rag.text.passages import passage_text
from rag.types import Chunk, Float32Array, Match, Query
from retrieval.fusion import Fused, Fusion, Lists, ids_of, ranks_in, standard
from retrieval.proximity import Proximity
from retrieval.smoothing import smoothed

Combine = Literal["sum", "rrf", "replace"]
POOL = 50
"""Chunks ordered anew, at least: the judged ones, and the best of the others."""
NEAR_WEIGHT = 0.5
"""Weight of proximity, beside legs that count 1."""
FIRST_WEIGHT, LAST_WEIGHT = 2.0, 1.5
"""Weights of the reranker, beside legs that count 1: for choosing the passages for feedback, and
afterwards, when the legs have learned part of its judgement."""
UNJUDGED = -0.5
"""Score of a chunk that was not judged, in standard deviations of those that were."""
RERANK = "rerank"


@dataclass(frozen=True, slots=True)
class Judged:
    """Chunks with the reranker's scores and their proximity, float32[chunks] both."""

    chunks: Sequence[Chunk]
    scores: Float32Array
    near: Float32Array

    def weighted(self, weight: float) -> Float32Array:
        """Returns float32[chunks]: both scores, standardised; the reranker's has this weight."""
        total = weight * standard(self.scores) + NEAR_WEIGHT * standard(self.near)
        return total.astype(np.float32)

    def of(self, ids: Sequence[str], weight: float) -> Float32Array:
        """Returns float32[ids]: the weighted scores of chunks, judged or not."""
        place = {chunk.id: i for i, chunk in enumerate(self.chunks)}
        own = self.weighted(weight)
        other = UNJUDGED * (weight + NEAR_WEIGHT)
        return np.array([own[place[i]] if i in place else other for i in ids], np.float32)

    def matches(self) -> list[Match]:
        """Returns the scores as a leg's list: best first, ties by id."""
        pairs = zip(self.chunks, self.scores.tolist(), strict=True)
        matches = [Match(chunk.id, score) for chunk, score in pairs]
        return sorted(matches, key=lambda match: (-match.score, match.chunk_id))


class Reranking:
    """Scores candidates by a reranker, and combines its scores with those of the legs."""

    def __init__(
        self,
        *,
        reranker: Reranker,
        proximity: Proximity,
        depth: int,
        combine: Combine,
        feedback: bool,
        seconds: float,
        by_embedder: bool = False,
        cache: ScoreCache | None = None,
    ) -> None:
        """Make a stage.

        Args:
            reranker: scores the candidates.
            proximity: scores them, too, by the places of the question's words.
            depth: number of candidates to score.
            combine: "sum": standardised scores of the legs, the reranker and the proximity are
                added, and smoothed; "rrf": the reranker's order is one more list; "replace": its
                order alone counts, and nothing is searched again.
            feedback: True: the best passages extend the question, which is searched for again.
            seconds: time limit of the reranker.
            by_embedder: True: the reranker compares vectors of the embedder.
            cache: keeps the scores of passages; None: they are scored anew.
        """
        self._reranker = reranker
        self._proximity = proximity
        self._combine = combine
        self._seconds = seconds
        self._cache = cache
        self.depth = depth
        self.by_embedder = by_embedder
        self.feedback = feedback and combine != "replace"

    def depth_of(self, query: Query) -> int:
        """Returns how many candidates to score: all hits, if the reranker alone orders them."""
        return max(query.top_k, self.depth) if self._combine == "replace" else self.depth

    async def judge(
        self, query: Query, chunks: Sequence[Chunk], trace: Trace
    ) -> tuple[Judged | None, tuple[str, ...]]:
        """Returns the scored chunks, or None if the reranker fails or is late; and `degraded`.

        Raises:
            ConfigError: The reranker cannot be used with these settings.
        """
        cause: UpstreamError | str
        try:
            with trace.span(RERANK) as span:
                span.attributes["candidates"] = len(chunks)
                async with asyncio.timeout(self._seconds):
                    scores, fault = await self._scores(query, chunks)
        except TimeoutError:
            cause = f"It took more than {self._seconds:g} s."
        except UpstreamError as error:
            cause = error
        else:
            degraded = (trace.degrade("model_cache", fault),) if fault else ()
            return Judged(chunks, scores, self._near(query.text, chunks)), degraded
        return None, (trace.degrade(RERANK, cause),)

    async def _scores(
        self, query: Query, chunks: Sequence[Chunk]
    ) -> tuple[Float32Array, UpstreamError | None]:
        if self._cache is None:
            return await self._reranker.score(query, chunks), None
        return await self._cache.score(self._reranker, query, chunks)

    def _near(self, question: str, chunks: Sequence[Chunk]) -> Float32Array:
        if self._combine == "replace":  # which has no use for it, and may have many chunks
            return np.zeros(len(chunks), np.float32)
        return self._proximity.scores(question, [passage_text(chunk) for chunk in chunks])

    def feedback_scores(self, lists: Lists, judged: Judged, fusion: Fusion) -> Float32Array:
        """Returns float32[judged.chunks], by which the passages for feedback are chosen."""
        ids = [chunk.id for chunk in judged.chunks]
        return fusion.scores(lists, ids) + judged.weighted(FIRST_WEIGHT)

    def pool(self, fused: Sequence[Fused], judged: Judged, limit: int) -> list[str]:
        """Returns the ids of the chunks to order: the judged ones and, to "sum", the best of all.

        `fused` are all chunks of the last search, best first.
        """
        best = fused[: max(limit, POOL)] if self._combine == "sum" else []
        ids = [place.chunk_id for place in best] + [chunk.id for chunk in judged.chunks]
        return list(dict.fromkeys(ids))

    def smooths(self, lists: Lists) -> bool:
        """True if `order` smooths scores by the chunks' vectors: if these were searched, too."""
        return self._combine == "sum" and "dense" in lists

    def order(
        self,
        pool: Sequence[str],
        lists: Lists,
        judged: Judged,
        fusion: Fusion,
        vectors: Mapping[str, Float32Array],
    ) -> list[Fused]:
        """Returns the chunks, best first, with their ranks in the legs and the reranker.

        Args:
            pool: the ids of the chunks to order; "rrf" orders all of `lists`.
            lists: those of the last search.
            judged: the judged chunks.
            fusion: of the legs.
            vectors: float32[dim] of chunks, by id, by which scores are smoothed.
        """
        everything = {**lists, RERANK: judged.matches()}
        if self._combine == "rrf":
            return fusion.fuse(everything, None)
        if self._combine == "replace":
            scores = judged.scores
        else:
            own = fusion.scores(lists, pool) + judged.of(pool, LAST_WEIGHT)
            scores = smoothed(own, pool, vectors)
        best = sorted(zip((-scores).tolist(), pool, strict=True))
        ranks = ranks_in(ids_of(everything), [chunk_id for _, chunk_id in best])
        return [Fused(i, -negated, own) for (negated, i), own in zip(best, ranks, strict=True)]
