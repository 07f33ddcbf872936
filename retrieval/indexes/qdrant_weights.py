"""BM25 weights on a Qdrant server: made with the mean length of a scope's chunks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from qdrant_client import models

from rag.errors import NotFoundError
from rag.types import Point, Scope
from retrieval.indexes.qdrant_known import Known, Lengths
from retrieval.indexes.qdrant_points import SPARSE, has_mean, length_of, of, reweighing
from retrieval.indexes.qdrant_tenants import TenantPoints

LENGTHS = 10_000
"""Largest number of different chunk lengths, in terms, that are counted."""


class Weights:
    """Tracks the mean length of each scope, and brings stored weights up to it."""

    def __init__(self, stored: TenantPoints, known: Known) -> None:
        """Take the points whose weights these are."""
        self._stored = stored
        self._lengths = known.lengths

    async def mean_with(self, scope: Scope, points: Sequence[Point]) -> float:
        """Returns the mean length once these new points are written, which it takes for granted.

        A process's first write measures the scope.
        """
        lengths = self._lengths.get(scope) or await self._measured(scope)
        lengths.points += len(points)
        lengths.terms += sum(length_of(point) for point in points)
        return lengths.mean

    async def recompute(self, scope: Scope) -> None:
        """Recomputes weights that were made with another mean. Searches and writes continue.

        So weights depend on the chunks alone, not on the writer: if several processes recompute
        while the mean still changes, the last one sees it.
        """
        before, whole = None, True
        while (mean := (await self._measured(scope)).mean) != before or not whole:
            whole = True
            drifted = of(scope, models.Filter(must_not=[has_mean(mean)]))
            pages = self._stored.pages(scope, drifted, ["length", "mean"], [SPARSE])
            async for records in pages:
                whole &= await self._reweigh(scope, records, mean)
            before = mean

    async def _measured(self, scope: Scope) -> Lengths:
        """Measures the lengths of all chunks: the server counts the chunks of each length."""
        counts = await self._stored.facet(scope, "length", LENGTHS)
        self._lengths[scope] = Lengths(
            points=sum(counts.values()),
            terms=sum(int(length) * count for length, count in counts.items()),
        )
        return self._lengths[scope]

    async def _reweigh(self, scope: Scope, records: Sequence[models.Record], mean: float) -> bool:
        """Recomputes these points' weights with `mean`, except points that were written meanwhile.

        Returns False if a point was deleted meanwhile, which ends the request early.

        The mean is written first, and only over the one that was read; the weights follow only if
        that succeeded. Between the two a point's weight is as inaccurate as before, never wrong.
        """
        try:
            await self._stored.update(scope, partial(reweighing, scope, records, mean))
        except NotFoundError:
            return False
        return True
