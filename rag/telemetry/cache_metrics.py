"""Metrics of caches: of texts in memory, of models' results and of answers."""

from __future__ import annotations

from typing import Literal

from rag.telemetry import instruments

CacheResult = Literal["exact", "semantic", "joined", "miss", "bypassed", "failed"]


def cache(name: str, *, hits: int, misses: int) -> None:
    """Counts look-ups in a cache."""
    instruments.cached.labels(name, "hit").inc(hits)
    instruments.cached.labels(name, "miss").inc(misses)


def model_cache_failed() -> None:
    """Counts a failure of the cache of models' results."""
    instruments.model_cache_failures.inc()


def answer_cache(result: CacheResult) -> None:
    """Counts a question by what the answer cache had for it, or a failure of the cache."""
    instruments.answer_cache.labels(result).inc()
