"""Fuses ranked lists into one, by ranks (RRF) or by scores."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from rag.types import Float32Array, Hit, Match
from retrieval.duplicates import without_duplicates

RRF_K = 60
"""Cormack, Clarke & Büttcher 2009, https://doi.org/10.1145/1571941.1572114."""
Lists = Mapping[str, Sequence[Match]]
"""Matches by the name of their leg, best first."""


class Fused(NamedTuple):
    """A chunk's place after fusion: its score, and its rank (from 1) in each list that has it."""

    chunk_id: str
    score: float
    ranks: Mapping[str, int]


def rrf(
    lists: Mapping[str, Sequence[str]],
    *,
    k: int = RRF_K,
    weights: Mapping[str, float] | None = None,
    limit: int | None = None,
) -> list[Fused]:
    """Fuses ranked lists of chunk ids: score = Σ over lists of weight / (k + rank).

    Args:
        lists: chunk ids by list name, best first, each id once in a list.
        k: damping: the larger, the less the first places stand out; 60 in the paper.
        weights: by list name; 1 where none is given.
        limit: number of results, the best ones; None: all.

    Returns:
        Best first, ties by chunk id; the order of `lists` makes no difference.
    """
    negated: dict[str, float] = {}  # so that best first is the order of tuples
    for name in sorted(lists):  # sums of floats depend on their order
        weight = (weights or {}).get(name, 1.0)
        for rank, chunk_id in enumerate(lists[name], start=1):
            negated[chunk_id] = negated.get(chunk_id, 0.0) - weight / (k + rank)
    best = sorted(zip(negated.values(), negated, strict=True))[:limit]
    ranks = ranks_in(lists, [chunk_id for _, chunk_id in best])
    return [Fused(i, -score, own) for (score, i), own in zip(best, ranks, strict=True)]


def ranks_in(
    lists: Mapping[str, Sequence[str]], chunk_ids: Sequence[str]
) -> list[Mapping[str, int]]:
    """Returns the ranks (from 1) of each of these chunks, by the name of the list that has it."""
    places = {
        name: {chunk_id: rank for rank, chunk_id in enumerate(ids, start=1)}
        for name, ids in lists.items()
    }
    return [
        {name: ranks[chunk_id] for name, ranks in places.items() if chunk_id in ranks}
        for chunk_id in chunk_ids
    ]


def followed(best: Sequence[Fused], others: Iterable[Fused]) -> list[Fused]:
    """Returns the best and, below them, the others in their order, with the last one's score."""
    if not best:
        return list(others)
    ids, last = {place.chunk_id for place in best}, best[-1].score
    return [*best, *(Fused(i, last, ranks) for i, _, ranks in others if i not in ids)]


def ids_of(lists: Lists) -> dict[str, list[str]]:
    """Returns the chunk ids of each list, in its order."""
    return {name: [match.chunk_id for match in matches] for name, matches in lists.items()}


def standard(values: Float32Array, among: Float32Array | None = None) -> Float32Array:
    """Returns values as standard deviations from the mean (`among`'s, if given); 0 if all equal."""
    reference = values if among is None else among
    mean = reference.sum() / np.float32(len(reference))
    apart = reference - mean
    spread = math.sqrt((apart * apart).sum() / np.float32(len(reference)))
    if spread < 1e-6:  # noqa: PLR2004 - what rounding leaves of equal float32 scores
        return np.zeros_like(values)
    result: Float32Array = ((values - mean) / spread).astype(np.float32)
    return result


def summed(
    lists: Lists, ids: Sequence[str], *, weights: Mapping[str, float] | None = None
) -> Float32Array:
    """Returns float32[ids]: each chunk's standardised scores, times the list's weight, summed.

    Scores say more than ranks if a list is sure of its first places (Bruch et al. 2023,
    https://doi.org/10.1145/3596512). A chunk missing from a list gets the list's lowest score.
    `weights` as for `rrf`.
    """
    total = np.zeros(len(ids), np.float32)
    for name, matches in lists.items():
        if matches:
            scores = dict(matches)
            lowest = min(scores.values())
            own = standard(np.array([scores.get(i, lowest) for i in ids], np.float32))
            total += np.float32((weights or {}).get(name, 1.0)) * own
    return total


@dataclass(frozen=True, slots=True)
class Fusion:
    """Fuses the legs' lists; `k` and `weights` as for `rrf`."""

    k: int
    weights: Mapping[str, float]

    def fuse(self, lists: Lists, limit: int | None) -> list[Fused]:
        """Returns the best of the lists by RRF, at most `limit`; None: all."""
        return rrf(ids_of(lists), k=self.k, weights=self.weights, limit=limit)

    def scores(self, lists: Lists, ids: Sequence[str]) -> Float32Array:
        """Returns float32[ids]: the legs' scores of chunks by their weights; see `summed`."""
        return summed(lists, ids, weights=self.weights)


def fuse_hits(lists: Sequence[Sequence[Hit]], *, k: int, limit: int) -> list[Hit]:
    """Fuses the hits of several searches by `rrf` with this k; a single list is unchanged.

    A hit's `ranks` are its best rank in each leg that found it, over all searches.
    """
    if len(lists) == 1:
        return list(lists[0])
    ranks: dict[str, dict[str, int]] = {}
    hits = {hit.chunk.id: hit for each in lists for hit in each}
    for hit in (hit for each in lists for hit in each):
        best = ranks.setdefault(hit.chunk.id, {})
        for leg, rank in hit.ranks.items():
            best[leg] = min(rank, best.get(leg, rank))
    searches = {str(n): [hit.chunk.id for hit in each] for n, each in enumerate(lists)}
    fused = [
        replace(hits[i], score=score, source="fused", ranks=ranks[i])
        for i, score, _ in rrf(searches, k=k)
    ]
    return without_duplicates(fused)[:limit]
