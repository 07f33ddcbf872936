"""Settings of the service's objectives, and of the Prometheus that measures them."""

from __future__ import annotations

from pydantic import Field

from rag.settings.base import Part


class SpeedObjective(Part):
    """A share of the answers that has to be as fast."""

    share: float = Field(0.95, gt=0, lt=1)
    seconds: float = Field(gt=0, description="A bound of the histogram's buckets.")


class FirstTokenObjective(SpeedObjective):
    """As `SpeedObjective`, until a language model's first text."""

    seconds: float = Field(2.5, gt=0, description="As `retrieval.seconds`.")


class PerTokenObjective(SpeedObjective):
    """As `SpeedObjective`, of each token after it."""

    seconds: float = Field(0.15, gt=0, description="As `retrieval.seconds`.")


class RetrievalObjective(SpeedObjective):
    """As `SpeedObjective`, of retrieval."""

    seconds: float = Field(0.5, gt=0, description="A bound of the histogram's buckets.")


class GroundednessObjective(Part):
    """A share of the scored answers that has to be grounded."""

    share: float = Field(0.9, gt=0, lt=1)
    floor: float = Field(0.5, gt=0, lt=1, description="Score above which an answer is grounded.")


class SloSettings(Part):
    """Objectives of the service, and the Prometheus that measures them."""

    prometheus_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s/]+",
        description="It is asked what is left of the error budgets; none: nothing is frozen.",
    )
    jobs: str = Field("plumbline.*", min_length=1, description="Pattern of its jobs there.")
    days: int = Field(30, ge=1, le=90, description="Of an error budget.")
    min_events: int = Field(30, ge=1, description="In the long window of an alarm.")
    availability: float = Field(
        0.99, gt=0, lt=1, description="Share of requests, and of questions, that succeed."
    )
    first_token: FirstTokenObjective = FirstTokenObjective()
    per_token: PerTokenObjective = PerTokenObjective()
    retrieval: RetrievalObjective = RetrievalObjective()
    groundedness: GroundednessObjective = GroundednessObjective()
