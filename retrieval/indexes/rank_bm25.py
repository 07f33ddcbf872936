"""rank-bm25 as the lexical leg: exact, in memory, for collections of some thousand chunks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import numpy as np
from rank_bm25 import BM25Okapi

from rag.protocols import Resting, SparseEncoder, StoredIndex
from rag.text.passages import passage_text
from rag.types import Chunk, Condition, Float32Array, Leg, Match, Point, Scope, SparseVector
from rag.types.acl import Readers
from retrieval.bm25 import K1, B, bm25_idf, rounded_mean
from retrieval.indexes.matching import matcher

MODELS = 64
"""Models in memory: one for each collection, and for each set of readers who ask."""


class LuceneBm25(BM25Okapi):  # type: ignore[misc]
    """rank-bm25's Okapi with Lucene's IDF, which is Qdrant's too and never negative."""

    def __init__(self, corpus: Sequence[Sequence[int]]) -> None:
        super().__init__(corpus, k1=K1, b=B)
        self.avgdl: float = rounded_mean(sum(self.doc_len), self.corpus_size)

    def _calc_idf(self, nd: dict[int, int]) -> None:
        self.idf = {term: bm25_idf(self.corpus_size, n) for term, n in nd.items()}


class RankBm25Index:
    """`Index` that answers sparse legs with rank-bm25 and passes dense legs to another index.

    The first search after a write recomputes a collection's model.
    """

    def __init__(self, inner: StoredIndex, *, encoder: SparseEncoder) -> None:
        """Make an index over another one; `encoder` is the one used to ingest the chunks."""
        self._inner = inner
        self._encoder = encoder
        self._models: dict[Scope, tuple[list[Chunk], LuceneBm25]] = {}

    async def upsert(self, scope: Scope, points: Sequence[Point]) -> None:
        """Writes points; those without vectors keep the ones they have."""
        try:
            await self._inner.upsert(scope, points)
        finally:  # a write that fails half-way may have stored some
            self._forget(scope)

    async def delete(self, scope: Scope, chunk_ids: Sequence[str]) -> None:
        """Removes chunks, and their documents from the previous version; ignores unknown ids."""
        try:
            await self._inner.delete(scope, chunk_ids)
        finally:
            self._forget(scope)
            if previous := await self._inner.previous_version(scope):
                self._forget(previous)

    async def set_acl(self, scope: Scope, document_id: str, acl: Readers) -> None:
        """Replaces the ACL of a document's chunks, in every version."""
        try:
            await self._inner.set_acl(scope, document_id, acl)
        finally:
            self._models.clear()

    async def remove(self, scope: Scope) -> None:
        """Removes all versions of a scope."""
        try:
            await self._inner.remove(scope)
        finally:
            self._models.clear()

    async def chunk_ids(self, scope: Scope, document_id: str | None) -> set[str]:
        """The ids of a document's chunks, or of all."""
        return await self._inner.chunk_ids(scope, document_id)

    async def fetch(self, scope: Scope, chunk_ids: Sequence[str]) -> list[Chunk]:
        """The chunks with these ids, in the order asked for."""
        return await self._inner.fetch(scope, chunk_ids)

    async def vectors(self, scope: Scope, chunk_ids: Sequence[str]) -> dict[str, Float32Array]:
        """The dense vectors of these chunks, by id."""
        return await self._inner.vectors(scope, chunk_ids)

    async def max_sim(
        self, scope: Scope, question: Float32Array, chunk_ids: Sequence[str]
    ) -> dict[str, float]:
        """Late interaction as the inner index computes it."""
        return await self._inner.max_sim(scope, question, chunk_ids)

    async def search(self, scope: Scope, legs: Sequence[Leg]) -> list[list[Match]]:
        """Dense legs from the inner index, sparse ones from rank-bm25."""
        # The inner index sees all legs: it refuses filters that cannot hold.
        probes = [replace(leg, limit=1) if leg.name == "sparse" else leg for leg in legs]
        ranked = await self._inner.search(scope, probes)
        return [
            await self._rank(scope, leg.vector, leg.limit, leg.where)
            if isinstance(leg.vector, SparseVector)
            else matches_
            for leg, matches_ in zip(legs, ranked, strict=True)
        ]

    def points(self, scope: Scope) -> AsyncIterator[list[Point]]:
        """All points, from the inner index."""
        return self._inner.points(scope)

    def still(self) -> AbstractAsyncContextManager[Resting]:
        """The inner index is still during the block."""
        return self._inner.still()

    async def idf(self, scope: Scope, terms: Sequence[int]) -> list[float]:
        """Returns the model's own IDF; for an unknown term, that of a term in no chunk."""
        chunks, model = await self._model(scope)
        unseen = bm25_idf(len(chunks), 0) if chunks else 0.0
        return [model.idf.get(term, unseen) for term in terms] if chunks else [0.0] * len(terms)

    async def version(self, scope: Scope) -> str:
        """Returns the inner index's version."""
        return await self._inner.version(scope)

    async def holds(self, scope: Scope) -> bool:
        """True if the inner index holds the scope."""
        return await self._inner.holds(scope)

    async def name_of(self, scope: Scope) -> str:
        """Returns the inner index's name of the version."""
        return await self._inner.name_of(scope)

    async def pages(self, scope: Scope) -> AsyncIterator[list[Chunk]]:
        """Yields the inner index's pages."""
        async for page in self._inner.pages(scope):
            yield page

    async def maintain(self, scope: Scope) -> None:
        """Maintains the inner index."""
        await self._inner.maintain(scope)

    def erasing(self) -> AbstractAsyncContextManager[None]:
        """Returns the inner index's context manager; models are only in memory."""
        return self._inner.erasing()

    async def begin_version(self, scope: Scope) -> Scope:
        """Begins a version of the inner index."""
        version = await self._inner.begin_version(scope)
        self._forget(version)
        return version

    async def previous_version(self, scope: Scope) -> Scope | None:
        """Returns the inner index's previous version."""
        return await self._inner.previous_version(scope)

    async def switch_version(self, scope: Scope, version: Scope) -> None:
        """Switches the inner index."""
        await self._inner.switch_version(scope, version)
        self._models.clear()

    async def close(self) -> None:
        """Closes the inner index."""
        await self._inner.close()

    async def _rank(
        self, scope: Scope, query: SparseVector, limit: int, where: Sequence[Condition]
    ) -> list[Match]:
        chunks, model = await self._model(scope)
        if not chunks:
            return []
        scores = np.asarray(model.get_scores(_terms(query)))
        fits = matcher(where)
        found = [
            Match(chunk_id=chunks[i].id, score=float(scores[i]))
            for i in np.flatnonzero(scores > 0)
            if fits(chunks[i])
        ]
        return sorted(found, key=lambda m: (-m.score, m.chunk_id))[:limit]

    def _forget(self, scope: Scope) -> None:
        """Drops the models of a scope, of all its readers."""
        for each in [each for each in self._models if each.whole == scope.whole]:
            del self._models[each]

    async def _model(self, scope: Scope) -> tuple[list[Chunk], LuceneBm25]:
        """Returns the chunks that the scope's readers may read, and the model of these alone."""
        if scope not in self._models:
            while len(self._models) >= MODELS:
                del self._models[next(iter(self._models))]
            ids = await self._inner.chunk_ids(scope, None)
            chunks = await self._inner.fetch(scope, sorted(ids))
            counts = self._encoder.encode([passage_text(chunk) for chunk in chunks])
            corpus = [_terms(c) for c in counts] or [[0]]
            self._models[scope] = (chunks, LuceneBm25(corpus))
        return self._models[scope]


def _terms(counts: SparseVector) -> list[int]:
    """Returns each term as many times as it is counted."""
    return [int(term) for term in np.repeat(counts.indices, counts.values.astype(np.int64))]
