"""What a process remembers of a Qdrant server, which other processes may change."""

from __future__ import annotations

from dataclasses import dataclass, field

from rag.types import Scope
from retrieval.bm25 import rounded_mean
from retrieval.indexes.qdrant_shards import Placement


@dataclass(slots=True)
class Lengths:
    """The number of a scope's chunks, and of the terms in them together."""

    points: int
    terms: int

    @property
    def mean(self) -> float:
        """The mean length for new weights."""
        return rounded_mean(self.terms, self.points)


@dataclass(frozen=True, slots=True)
class Known:
    """Caches of one process. A collection's are discarded when it is switched or removed."""

    indexed: dict[str, set[str]] = field(default_factory=dict)
    """Paths of the payload indexes of each collection that was written to."""
    versions: dict[Scope, tuple[str, float]] = field(default_factory=dict)
    """Name of the searched version of each scope, and the time until which it is cached."""
    own: dict[Scope, bool] = field(default_factory=dict)
    """True for the scopes whose tenant has versions of its own: see `Versions.located`."""
    fields: dict[Scope, set[str]] = field(default_factory=dict)
    """Fields of the tenant's chunks."""
    lengths: dict[Scope, Lengths] = field(default_factory=dict)
    placements: dict[Scope, Placement] = field(default_factory=dict)
    advised: set[Scope] = field(default_factory=set)
    """Scopes of which it was logged that their tenant is large."""

    def forget(self, collection: str) -> None:
        """Discards what is cached about a collection, but not about its versions."""
        self.indexed.pop(collection, None)
        for cache in (self.versions, self.fields, self.lengths, self.placements):
            for scope in [scope for scope in cache if scope.collection == collection]:
                cache.pop(scope)
