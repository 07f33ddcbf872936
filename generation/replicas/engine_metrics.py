"""Reads vLLM's metrics (https://docs.vllm.ai/en/latest/usage/metrics/)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

WAITING = "vllm:num_requests_waiting"
KV_CACHE_USAGE = "vllm:kv_cache_usage_perc"
PREEMPTIONS = "vllm:num_preemptions_total"
PREFIX_HITS = "vllm:prefix_cache_hits_total"
PREFIX_QUERIES = "vllm:prefix_cache_queries_total"
_NAMES = (WAITING, KV_CACHE_USAGE, PREEMPTIONS, PREFIX_HITS, PREFIX_QUERIES)
_STARTS = tuple(f"{name}{end}" for name in _NAMES for end in "{ ")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """The state of a replica's engine.

    Attributes:
        waiting: requests in its queue, from all its clients.
        kv_cache_usage: share of its KV cache that is in use, 0 to 1; the fullest of its engines.
        preemptions: requests that it took out of its KV cache, since its start.
        prefix_hits: prompt tokens that its prefix cache had, since its start.
        prefix_queries: prompt tokens that were looked for in it.
    """

    waiting: float = 0.0
    kv_cache_usage: float = 0.0
    preemptions: float = 0.0
    prefix_hits: float = 0.0
    prefix_queries: float = 0.0


def read_engine_metrics(text: str) -> EngineState | None:
    """Returns the state in an exposition, over all engines of the server; None without vLLM's.

    Only the lines that count are parsed: vLLM exposes some thousand, most of histograms.

    Raises:
        ValueError: One of the lines is malformed, or has no number.
    """
    lines = "\n".join(line for line in text.splitlines() if line.startswith(_STARTS))
    if not lines:
        return None
    values: dict[str, list[float]] = {name: [0.0] for name in _NAMES}
    for family in text_string_to_metric_families(lines + "\n"):
        for sample in family.samples:
            if not math.isfinite(sample.value):
                raise ValueError(f"{sample.name} is {sample.value}")
            values[sample.name].append(sample.value)
    return EngineState(
        waiting=sum(values[WAITING]),
        kv_cache_usage=max(values[KV_CACHE_USAGE]),
        preemptions=sum(values[PREEMPTIONS]),
        prefix_hits=sum(values[PREFIX_HITS]),
        prefix_queries=sum(values[PREFIX_QUERIES]),
    )
