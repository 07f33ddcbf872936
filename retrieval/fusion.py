"""Reciprocal rank fusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

RRF_K = 60
"""Cormack, Clarke & Büttcher 2009, https://doi.org/10.1145/1571941.1572114."""


@dataclass(frozen=True, slots=True)
class Fused:
    """A chunk's place after fusion: its score, and its rank (from 1) in each list that has it."""

    chunk_id: str
    score: float
    ranks: Mapping[str, int]


def rrf(
    lists: Mapping[str, Sequence[str]],
    *,
    k: int = RRF_K,
    weights: Mapping[str, float] | None = None,
) -> list[Fused]:
    """Fuses ranked lists of chunk ids: score = Σ over lists of weight / (k + rank).

    Args:
        lists: chunk ids by list name, best first, each id once in a list.
        k: how much the first places count less; 60 in the paper.
        weights: by list name; 1 where none is given.

    Returns:
        Best first, ties by chunk id; the order of `lists` makes no difference.
    """
    ranks: dict[str, dict[str, int]] = {}
    for name in sorted(lists):
        for rank, chunk_id in enumerate(lists[name], start=1):
            ranks.setdefault(chunk_id, {})[name] = rank
    fused = [
        Fused(
            chunk_id=chunk_id,
            score=sum((weights or {}).get(name, 1.0) / (k + rank) for name, rank in places.items()),
            ranks=places,
        )
        for chunk_id, places in ranks.items()
    ]
    return sorted(fused, key=lambda f: (-f.score, f.chunk_id))
