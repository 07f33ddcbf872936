"""Reranking: scores the best candidates, and orders all by the legs' scores and these."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rag.errors import UpstreamError
from rag.protocols import Reranker
from rag.telemetry.trace import Trace
from rag.types import Chunk, Float32Array, Match, Query
from retrieval.fusion import Fused, Fusion, Lists, standard

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
class Judged:
    """Chunks and the reranker's float32[chunks] scores of them."""

    chunks: Sequence[Chunk]
    scores: Float32Array

    def standardised(self, ids: Sequence[str]) -> Float32Array:
        """Returns float32[ids]: standardised scores of chunks, judged or not."""
        place = {chunk.id: i for i, chunk in enumerate(self.chunks)}
        own = standard(self.scores)
        return np.array([own[place[i]] if i in place else UNJUDGED for i in ids], np.float32)

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
        depth: int,
        combine: Combine,
        feedback: bool,
        seconds: float,
    ) -> None:
        """Make a stage.

        Args:
            reranker: scores the candidates.
            depth: number of candidates to score.
            combine: "sum": standardised scores of the legs and the reranker are added; "rrf": its
                order is one more list; "replace": its order alone counts, and nothing is searched
                again.
            feedback: True: the best passages extend the question, which is searched for again.
            seconds: time limit of the reranker.
        """
        self._reranker = reranker
        self._combine = combine
        self._seconds = seconds
        self.depth = depth
        self.feedback = feedback and combine != "replace"

    def depth_of(self, fused: Sequence[Fused]) -> int:
        """Returns how many of the candidates to score: all, if the reranker alone orders them."""
        return len(fused) if self._combine == "replace" else self.depth

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
                    return Judged(chunks, await self._reranker.score(query, chunks)), ()
        except TimeoutError:
            cause = f"It took more than {self._seconds:g} s."
        except UpstreamError as error:
            cause = error
        return None, (trace.degrade(RERANK, cause),)

    def feedback_scores(self, lists: Lists, judged: Judged, fusion: Fusion) -> Float32Array:
        """Returns float32[judged.chunks], by which the passages for feedback are chosen."""
        ids = [chunk.id for chunk in judged.chunks]
        return fusion.scores(lists, ids) + FIRST_WEIGHT * standard(judged.scores)

    def order(self, lists: Lists, judged: Judged, fusion: Fusion, limit: int) -> list[Fused]:
        """Returns the best chunks, at most `limit`, with their ranks in the legs and the reranker.

        `lists` are those of the last search.
        """
        everything = {**lists, RERANK: judged.matches()}
        if self._combine == "rrf":
            return fusion.fuse(everything, limit)
        if self._combine == "replace":
            ids, scores = [chunk.id for chunk in judged.chunks], judged.scores
        else:
            pool = [place.chunk_id for place in fusion.fuse(lists, max(limit, POOL))]
            ids = list(dict.fromkeys([*pool, *(chunk.id for chunk in judged.chunks)]))
            scores = fusion.scores(lists, ids) + LAST_WEIGHT * judged.standardised(ids)
        ranks = {place.chunk_id: place.ranks for place in fusion.fuse(everything, None)}
        best = sorted(zip((-scores).tolist(), ids, strict=True))[:limit]
        return [Fused(chunk_id, -score, ranks[chunk_id]) for score, chunk_id in best]
