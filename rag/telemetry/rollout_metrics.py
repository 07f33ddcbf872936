"""Prometheus metrics of variants, shadows and rollouts; see `rag.telemetry.metrics`.

The label `variant` has the names of the settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from rag.records import Outcome
from rag.telemetry import instruments
from rag.types import BASE

Shadowed = Literal["answered", "failed", "dropped"]
Decided = Literal["advance", "promote", "roll_back"]
_ENDS: tuple[Outcome, ...] = ("ok", "abstained", "refused", "failed", "hung_up")
for _outcome in get_args(Shadowed):  # they start at 0, as all counters do
    instruments.shadows.labels(_outcome)
for _action in get_args(Decided):
    instruments.rollout_decisions.labels(_action)


def variants(available: Mapping[str, bool]) -> None:
    """Sets which variants could be built, and has their counters start at 0."""
    for name, built in available.items():
        instruments.variant_available.labels(name).set(built)
    for name in (BASE, *available):
        for outcome in _ENDS:
            instruments.variants.labels(name, outcome)


def frozen(*, held: bool) -> None:
    """Sets whether this process lets no canary grow."""
    instruments.rollouts_frozen.set(held)


def question(variant: str, outcome: Outcome) -> None:
    """Counts a question by the variant that worked for it."""
    instruments.variants.labels(variant, outcome).inc()


def shadow(outcome: Shadowed) -> None:
    """Counts a question that a variant was to answer besides."""
    instruments.shadows.labels(outcome).inc()


def decision(action: Decided) -> None:
    """Counts what became of a rollout by itself."""
    instruments.rollout_decisions.labels(action).inc()
