"""Prometheus metrics of the replicas of a language model, by address without secrets."""

from __future__ import annotations

from rag.telemetry import instruments


def request(replica: str, kind: str, outcome: str) -> None:
    """Counts a request to a replica that has ended.

    Args:
        replica: its address, without secrets.
        kind: first, retry, hedge.
        outcome: answered, failed, late, busy, refused, lost to a faster one, left by its caller.
    """
    instruments.replica_requests.labels(replica, kind, outcome).inc()


def load(replica: str, *, requests: int, tokens: float) -> None:
    """Adds to what a replica works on; negative numbers take away."""
    instruments.replica_in_flight.labels(replica).inc(requests)
    instruments.replica_tokens.labels(replica).inc(tokens)


def state(replica: str, *, ready: bool, ejected: bool) -> None:
    """Sets whether a replica is ready, and whether it is ejected."""
    instruments.replica_ready.labels(replica).set(ready)
    instruments.replica_ejected.labels(replica).set(ejected)


def engine(
    replica: str,
    *,
    waiting: float,
    kv_cache_usage: float,
    preemptions: float,
    prefix_hits: float,
    prefix_queries: float,
) -> None:
    """Sets what a replica's engine says of itself."""
    instruments.replica_waiting.labels(replica).set(waiting)
    instruments.replica_kv_cache.labels(replica).set(kv_cache_usage)
    instruments.replica_preemptions.labels(replica).set(preemptions)
    instruments.replica_prefix.labels(replica, "hit").set(prefix_hits)
    instruments.replica_prefix.labels(replica, "looked up").set(prefix_queries)
