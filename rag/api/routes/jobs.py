"""The endpoints of jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from rag.api import responses
from rag.api.auditing import audited
from rag.api.cursors import TimedCursor, cursor_of, iso, place_of
from rag.api.deps import IngestingDep, PrincipalDep, QueueDep, StorageDep, needs
from rag.api.large_bodies import OffLoopRoute
from rag.api.routes.common import PROBLEMS, Id, json_response
from rag.build.storage import Storage
from rag.catalog.jobs import Place, no_job
from rag.records import JobRecord
from rag.types import Principal, State

router = APIRouter(prefix="/v1", route_class=OffLoopRoute)


Limit = Annotated[int, Query(ge=1, le=200)]


@router.get(
    "/jobs",
    response_model=responses.JobPage,
    responses=PROBLEMS,
    tags=["jobs"],
    dependencies=[needs("write")],
)
async def list_jobs(
    storage: StorageDep,
    caller: PrincipalDep,
    limit: Limit = 50,
    cursor: TimedCursor = None,
    state: State | None = None,
) -> Response:
    """Lists jobs, newest first, each with its first three failures.

    With `state`, a page may be short, or empty, although others follow: as long as there is a
    `next_cursor`.
    """
    place = place_of(cursor)
    found = await storage.catalog.jobs.page(
        caller.tenant,
        limit=limit,
        after=place and Place(iso(place.at), place.id),
        state=state,
        readers=caller.readers,
        within=caller.collections,
    )
    return json_response(
        {
            "jobs": [responses.job_json(job) for job in found.jobs],
            "next_cursor": found.after and _cursor(found.after),
        }
    )


@router.get(
    "/jobs/{job_id}",
    response_model=responses.JobOut,
    responses=PROBLEMS,
    tags=["jobs"],
    dependencies=[needs("write")],
)
async def get_job(job_id: Id, storage: StorageDep, caller: PrincipalDep) -> Response:
    """Returns the progress of a job."""
    return json_response(responses.job_json(await _job(storage, caller, job_id)))


@router.delete(
    "/jobs/{job_id}",
    response_model=responses.JobOut,
    responses=PROBLEMS,
    tags=["jobs"],
    dependencies=[needs("write"), audited("job.cancel")],
)
async def cancel_job(job_id: Id, ingesting: IngestingDep, caller: PrincipalDep) -> Response:
    """Cancels the documents of a job that have not begun; running ones are finished."""
    await _job(ingesting, caller, job_id)
    await ingesting.ingest.cancel(caller.tenant, job_id)
    return json_response(responses.job_json(await _job(ingesting, caller, job_id)))


@router.post(
    "/jobs/{job_id}/retry",
    status_code=202,
    response_model=responses.JobOut,
    responses=PROBLEMS,
    tags=["jobs"],
    dependencies=[needs("write"), audited("job.retry")],
)
async def retry_job(
    job_id: Id, storage: StorageDep, queue: QueueDep, caller: PrincipalDep
) -> Response:
    """Retries the failed documents of a job, unless a newer version of them is stored."""
    await _job(storage, caller, job_id)
    await storage.catalog.jobs.retry(caller.tenant, job_id)
    queue.wake()
    return json_response(responses.job_json(await _job(storage, caller, job_id)), status=202)


def _cursor(place: Place) -> str:
    return cursor_of(datetime.fromisoformat(place.created_at).timestamp(), place.id)


async def _job(storage: Storage, caller: Principal, job_id: str) -> JobRecord:
    """Returns a job as the caller may see it."""
    job = await storage.catalog.jobs.get(caller.tenant, job_id, readers=caller.readers)
    if not caller.reaches(job.collection):
        raise no_job(job_id)
    return job
