"""The endpoints for administrators: the caller, stored answers, drift, runs, queue, tenants."""

from __future__ import annotations

from typing import Literal

from .administration_responses import (
    AnswerPage,
    ComparisonList,
    Drift,
    Me,
    Queue,
    RunDetails,
    RunPage,
    TenantPage,
)
from .call import Call, read_as, segment

YesNo = Literal["true", "false"]


def get_me() -> Call[Me]:
    """Returns the caller's tenant, user and scopes."""
    return Call(method="GET", path="/v1/me", read=read_as(Me))


def list_answers(
    *,
    collection: str | None = None,
    abstained: YesNo | None = None,
    rating: Literal["up", "down"] | None = None,
    low: YesNo | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[AnswerPage]:
    """Lists the tenant's stored answers, newest first, with their scores and feedback.

    `low` chooses those with a low score, or the others.
    """
    params = {
        "collection": collection,
        "abstained": abstained,
        "rating": rating,
        "low": low,
        "limit": limit,
        "cursor": cursor,
    }
    return Call(method="GET", path="/v1/answers", params=params, read=read_as(AnswerPage))


def get_drift(
    *,
    collection: str | None = None,
    current: float | None = None,
    reference: float | None = None,
) -> Call[Drift]:
    """Compares the answers of the last `current` seconds with those of `reference` seconds before.

    Raises:
        ConflictError: There are too few answers, or too many.
    """
    params = {"collection": collection, "current": current, "reference": reference}
    return Call(method="GET", path="/v1/drift", params=params, read=read_as(Drift))


def list_runs(*, limit: int | None = None, cursor: str | None = None) -> Call[RunPage]:
    """Lists the tenant's evaluation runs, newest first."""
    params = {"limit": limit, "cursor": cursor}
    return Call(method="GET", path="/v1/eval-runs", params=params, read=read_as(RunPage))


def get_run(name: str) -> Call[RunDetails]:
    """Returns one evaluation run with its summary."""
    return Call(method="GET", path=f"/v1/eval-runs/{segment(name)}", read=read_as(RunDetails))


def compare_runs(a: str, b: str) -> Call[ComparisonList]:
    """Compares evaluation run `b` with run `a`, question by question."""
    params = {"a": a, "b": b}
    return Call(
        method="GET", path="/v1/eval-runs/compare", params=params, read=read_as(ComparisonList)
    )


def get_queue() -> Call[Queue]:
    """Returns what waits and runs, of all tenants."""
    return Call(method="GET", path="/v1/queue", read=read_as(Queue))


def list_tenants(*, limit: int | None = None, cursor: str | None = None) -> Call[TenantPage]:
    """Lists the tenants of which something is stored, by name."""
    params = {"limit": limit, "cursor": cursor}
    return Call(method="GET", path="/v1/tenants", params=params, read=read_as(TenantPage))
