"""The endpoints about the whole service, all tenants: its queue, and what each tenant has."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from rag.api.deps import SettingsDep, StorageDep, needs
from rag.api.routes.common import PROBLEMS, json_response
from rag.records import Backlog
from rag.settings.storage import CeleryQueueSettings
from rag.settings.tree import Settings
from rag.types import TENANT, Stage

router = APIRouter(
    prefix="/v1", tags=["service"], responses=PROBLEMS, dependencies=[needs("metrics")]
)
Limit = Annotated[int, Query(ge=1, le=1000)]
After = Annotated[str | None, Query(pattern=TENANT)]


class StageBacklog(BaseModel):
    """Documents that wait for a stage, and that are in it."""

    pending: int
    running: int


class WorkersOut(BaseModel):
    """The processes that ingest. How many workers take tasks from a broker is not known."""

    kind: Literal["local", "celery"] = Field(description="local: the service itself.")
    concurrency: int | None = Field(description="Documents at once in one worker; null: local.")


class QueueOut(BaseModel):
    """The queue of all tenants."""

    backlog: dict[Stage, StageBacklog]
    oldest_seconds: float | None = Field(description="Since the oldest of them was accepted.")
    dead_letters: int = Field(description="Documents that have failed for good.")
    to_score: int = Field(description="Answers that wait to be scored.")
    workers: WorkersOut


class TenantOut(BaseModel):
    """A tenant with the numbers of what it has; `keys` are those that were not revoked."""

    name: str
    collections: int
    documents: int
    chunks: int
    open_tasks: int
    answers: int
    keys: int


class TenantPage(BaseModel):
    """Tenants, by name."""

    tenants: list[TenantOut]
    next_cursor: str | None


@router.get("/queue", response_model=QueueOut)
async def get_queue(storage: StorageDep, settings: SettingsDep) -> Response:
    """Returns what waits and runs, of all tenants."""
    return json_response(_queue_json(await storage.catalog.jobs.backlog(), settings))


@router.get("/tenants", response_model=TenantPage)
async def list_tenants(storage: StorageDep, limit: Limit = 1000, cursor: After = None) -> Response:
    """Lists the tenants of which something is stored, by name."""
    found = [each for each in await storage.catalog.tenants.all() if each.name > (cursor or "")]
    more = found[limit - 1].name if len(found) > limit else None
    return json_response({"tenants": [asdict(each) for each in found[:limit]], "next_cursor": more})


def _queue_json(backlog: Backlog, settings: Settings) -> dict[str, Any]:
    stages = {stage: {"pending": 0, "running": 0} for stage in get_args(Stage)}
    for group in backlog.groups:
        stages[group.stage][group.state] += group.tasks
    queue = settings.queue
    return {
        "backlog": stages,
        "oldest_seconds": max((group.oldest_seconds for group in backlog.groups), default=None),
        "dead_letters": backlog.dead_letters,
        "to_score": backlog.to_score,
        "workers": {
            "kind": queue.kind,
            "concurrency": queue.concurrency if isinstance(queue, CeleryQueueSettings) else None,
        },
    }
