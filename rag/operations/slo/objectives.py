"""The objectives of the settings, as expressions of Prometheus.

An indicator counts events, and those of them that are bad, as rates over five minutes for each job.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from rag.errors import ConfigError
from rag.settings.slo import SloSettings
from rag.telemetry import instruments
from rag.types import REASONS

CALLERS_ERRORS = (
    *("unknown_collection", "unknown_field", "invalid_filter", "invalid_input", "too_large"),
    *("question_too_long", "conversation_too_long", "prompt_too_long", "json_too_long"),
    *("stopped", "no_json"),
)
"""Errors of questions that the caller can fix: docs/ask.md, docs/generate.md."""
_FIRST_TOKEN = "gen_ai_server_time_to_first_token_seconds"  # noqa: S105 - a series
_PER_TOKEN = "gen_ai_server_time_per_output_token_seconds"  # noqa: S105 - a series
_STAGE = "plumbline_stage_duration_seconds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A share of events that have to be good.

    Attributes:
        sli: name of its indicator.
        share: of the events, between 0 and 1.
        target: the same in words.
        events: expression of the rate of events.
        bad: expression of the rate of bad ones.
    """

    sli: str
    share: float
    target: str
    events: str
    bad: str


def objectives(settings: SloSettings) -> list[Objective]:
    """Returns the objectives.

    Raises:
        ConfigError: A threshold is no bound of its histogram's buckets.
    """
    first, later, found = settings.first_token, settings.per_token, settings.retrieval
    grounded = settings.groundedness
    below = ("groundedness.floor", grounded.floor, instruments.SHARES)
    scores = 'plumbline_score_{}{{score="groundedness"{}}}'
    return [
        _requests(settings.availability),
        _questions(settings.availability),
        _fast("first_token", first.share, first.seconds, _FIRST_TOKEN, instruments.FIRST_TOKEN),
        _fast("per_token", later.share, later.seconds, _PER_TOKEN, instruments.PER_TOKEN),
        _fast(
            *("retrieval", found.share, found.seconds, _STAGE, instruments.SECONDS),
            labels='stage="retrieve"',
        ),
        Objective(
            sli="groundedness",
            share=grounded.share,
            target=f"{grounded.share:.2%} of scored answers above {grounded.floor:g}",
            events=_rate(scores.format("count", "")),
            bad=_rate(scores.format("bucket", f', le="{_bound(*below)}"')),
        ),
    ]


def fingerprint(settings: SloSettings) -> str:
    """Returns a name of the objectives, by which rules of others are recognized."""
    rules = settings.model_dump_json(exclude={"prometheus_url", "jobs"})
    return hashlib.sha256(rules.encode()).hexdigest()[:12]


def _requests(share: float) -> Objective:
    served = 'http_server_request_duration_seconds_count{{http_route=~"/v1/.*"{}}}'
    return Objective(
        sli="requests",
        share=share,
        target=f"{share:.2%} without a 5xx",
        events=_rate(served.format("")),
        bad=_rate(served.format(', http_response_status_code=~"5.."')),
    )


def _questions(share: float) -> Objective:
    asked = 'plumbline_questions_total{{outcome!="cancelled"{}}}'
    good = "|".join(("found", "answered", *REASONS))
    callers = "|".join(CALLERS_ERRORS)
    return Objective(
        sli="questions",
        share=share,
        target=f"{share:.2%} without an error of ours",
        events=_rate(asked.format("")),
        bad=_rate(asked.format(f', outcome!~"{good}", outcome!~"{callers}"')),
    )


def _fast(
    sli: str,
    share: float,
    seconds: float,
    histogram: str,
    bounds: Sequence[float],
    *,
    labels: str = "",
) -> Objective:
    bound = _bound(f"{sli}.seconds", seconds, bounds)
    events = _rate(f"{histogram}_count{{{labels}}}" if labels else f"{histogram}_count")
    within = ", ".join(filter(None, (labels, f'le="{bound}"')))
    return Objective(
        sli=sli,
        share=share,
        target=f"{share:.2%} within {seconds:g} s",
        events=events,
        bad=f"clamp_min({events} - {_rate(f'{histogram}_bucket{{{within}}}')}, 0)",
    )


def _bound(name: str, value: float, bounds: Sequence[float]) -> str:
    """Returns a threshold as the label `le` has it."""
    if value not in bounds:
        known = ", ".join(f"{bound:g}" for bound in bounds)
        raise ConfigError(
            f"The setting 'slo.{name}' does not fit: {value:g} is no bound of the histogram, which"
            f" are {known}."
        )
    return repr(float(value))


def _rate(selector: str) -> str:
    return f"sum by (job) (rate({selector}[5m]))"
