"""Thresholds for autoscaling, and the error budget."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from rag.operations.capacity.gpu_choice import Choice
from rag.operations.capacity.load import Load
from rag.settings.slo import SloSettings

START_SECONDS = 60.0
"""From an empty process to a compiled engine, without its weights. An assumption."""
READ_BYTES = 1e9
"""Bytes of weights that are read in a second, from a disk. An assumption."""
KV_USE = 0.8
"""Share of the cache in use past which vLLM soon preempts requests."""
CPU_USE = 0.7
"""Share of its CPU past which the API gets another process."""
BACKLOG_SECONDS = 600
"""Time in which documents that wait are to be ingested. An assumption."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Values for KEDA's ScaledObjects and the HPA, for the engines.

    Attributes:
        least: engines that stay: those for the mean load.
        most: engines at the peak.
        running: requests under way in an engine, past which another is added.
        waiting: waiting requests of all engines, past which another is added.
        start_seconds: until a new engine answers; the load grows on meanwhile.
        cooldown_seconds: without need before an engine is removed.
        kv_use: share of the KV cache in use, past which an engine is added.
        cpu_use: share of its CPU that the API uses, past which it gets another process.
        backlog: documents that wait for each worker, past which another is added.
        budget_minutes, budget_questions: that may fail in the time of an error budget.
    """

    least: int
    most: int
    running: int
    waiting: int
    kv_use: float
    cpu_use: float
    start_seconds: float
    cooldown_seconds: int
    backlog: int
    budget_minutes: float
    budget_questions: int

    def as_json(self) -> dict[str, Any]:
        """Returns the values by name."""
        return asdict(self)


def scaling_of(
    choice: Choice, load: Load, *, document_seconds: float, objectives: SloSettings
) -> Scaling:
    """Returns the thresholds for the engines that were chosen.

    `document_seconds` is what a worker takes to embed a document.
    """
    target = choice.serving.assumed.load
    start = START_SECONDS + choice.serving.weight_bytes / READ_BYTES
    least = max(1, math.ceil(load.qps * load.mean / (choice.rate * target)))
    failing = 1 - objectives.availability
    seconds = objectives.days * 24 * 3600
    return Scaling(
        least=min(least, choice.engines),
        most=choice.engines,
        running=max(1, round(choice.batch * target)),
        waiting=max(1, round(choice.batch * (1 - target))),
        kv_use=KV_USE,
        cpu_use=CPU_USE,
        start_seconds=round(start),
        cooldown_seconds=max(300, 3 * round(start)),
        backlog=max(1, round(BACKLOG_SECONDS / document_seconds)),
        budget_minutes=failing * seconds / 60,
        budget_questions=round(failing * seconds * load.qps * load.mean),
    )
