"""Health, readiness and metrics."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import PlainTextResponse, Response

from rag.api.cursors import iso
from rag.api.deps import QueueDep, StorageDep, needs, state_of
from rag.api.draining import refusal
from rag.api.routes.common import PROBLEMS, json_response
from rag.build.service import Service
from rag.errors import StorageError, UpstreamError
from rag.records import Backlog
from rag.telemetry import metrics
from rag.telemetry.conditions import Condition, Overall, State, overall
from rag.types import Message

BACKLOG_SECONDS = 2.0
"""Seconds for the catalog's part of `/metrics`: Prometheus waits for ten, and the rest is ready."""
_ANYTHING = (Message(role="user", content="ready?"),)
router = APIRouter(include_in_schema=True, tags=["health"])


@router.get("/healthz", responses=PROBLEMS)
async def healthz() -> dict[str, str]:
    """Reports that the process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses=PROBLEMS)
async def readyz(request: Request, storage: StorageDep, _queue: QueueDep) -> dict[str, str]:
    """Reports that this process takes requests: it is loaded, is not to end, and can answer.

    Its engine lives then, and no GPU of it that is watched has a fault.

    Databases and other servers are not asked: a process is not replaced for their sake.
    """
    state = state_of(request)
    if state.failure:
        raise state.failure
    if error := refusal(state):
        raise error
    if isinstance(storage, Service) and storage.model is not None:
        await storage.model.count_tokens(_ANYTHING)  # by an engine in this process, or nobody
    return {"status": "ready"}


class FaultOut(BaseModel):
    """The last fault of a dependency, and its time."""

    at: str
    message: str


class ConditionOut(BaseModel):
    """The state of a dependency, when it was asked last."""

    name: str
    needed: bool = Field(description="Without it, no question is answered.")
    state: State
    milliseconds: float = Field(description="Until it answered.")
    at: str
    last_error: FaultOut | None = Field(description="It stays when it is up again.")


class HealthOut(BaseModel):
    """The state of a service: `down` if something needed is, `degraded` if something else is."""

    status: Overall
    dependencies: list[ConditionOut]


@router.get(
    "/v1/health",
    response_model=HealthOut,
    responses=PROBLEMS,
    dependencies=[needs("metrics")],
)
async def get_health(request: Request) -> Response:
    """Returns the state of all that this process depends on: databases, queues, models, traces.

    Each is asked for two seconds at most, and not more often than every five seconds.
    """
    state = state_of(request)
    if state.health is None:
        raise state.loading("The service is still starting.")
    found = await state.health.look()
    dependencies = [_condition_json(each) for each in found]
    return json_response({"status": overall(found), "dependencies": dependencies})


def _condition_json(condition: Condition) -> dict[str, Any]:
    fault = condition.last_error
    return {
        **asdict(condition),
        "at": iso(condition.at),
        "last_error": fault and {"at": iso(fault.at), "message": fault.message},
    }


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses=PROBLEMS,
    dependencies=[needs("metrics")],
)
async def get_metrics(storage: StorageDep) -> Response:
    """Returns metrics for Prometheus: of this process, and the backlog if the catalog answers."""
    found: Backlog | None = None
    with contextlib.suppress(TimeoutError, UpstreamError, StorageError):
        async with asyncio.timeout(BACKLOG_SECONDS):
            found = await storage.catalog.jobs.backlog()
    body = await asyncio.to_thread(metrics.exposition, found)
    return Response(body, media_type=metrics.CONTENT_TYPE)
