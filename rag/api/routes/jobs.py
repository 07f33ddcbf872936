"""The endpoints of jobs."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from rag.api import responses
from rag.api.deps import QueueDep, ServiceDep
from rag.api.large_bodies import OffLoopRoute
from rag.api.routes.common import PROBLEMS, Id, json_response
from rag.build.service import TENANT

router = APIRouter(prefix="/v1", route_class=OffLoopRoute)


@router.get("/jobs/{job_id}", response_model=responses.JobOut, responses=PROBLEMS, tags=["jobs"])
async def get_job(job_id: Id, service: ServiceDep) -> Response:
    """Returns the progress of a job."""
    return json_response(responses.job_json(await service.catalog.jobs.get(TENANT, job_id)))


@router.delete("/jobs/{job_id}", response_model=responses.JobOut, responses=PROBLEMS, tags=["jobs"])
async def cancel_job(job_id: Id, service: ServiceDep) -> Response:
    """Cancels the documents of a job that have not begun; running ones are finished."""
    return json_response(responses.job_json(await service.ingest.cancel(TENANT, job_id)))


@router.post(
    "/jobs/{job_id}/retry",
    status_code=202,
    response_model=responses.JobOut,
    responses=PROBLEMS,
    tags=["jobs"],
)
async def retry_job(job_id: Id, service: ServiceDep, queue: QueueDep) -> Response:
    """Retries the failed documents of a job, unless a newer version of them is stored."""
    job = await service.catalog.jobs.retry(TENANT, job_id)
    queue.wake()
    return json_response(responses.job_json(job), status=202)
