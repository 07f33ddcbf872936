"""The endpoints of jobs."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from rag.api import responses
from rag.api.deps import IngestingDep, QueueDep, StorageDep, TenantDep
from rag.api.large_bodies import OffLoopRoute
from rag.api.routes.common import PROBLEMS, Id, json_response

router = APIRouter(prefix="/v1", route_class=OffLoopRoute)


@router.get("/jobs/{job_id}", response_model=responses.JobOut, responses=PROBLEMS, tags=["jobs"])
async def get_job(job_id: Id, storage: StorageDep, tenant: TenantDep) -> Response:
    """Returns the progress of a job."""
    return json_response(responses.job_json(await storage.catalog.jobs.get(tenant, job_id)))


@router.delete("/jobs/{job_id}", response_model=responses.JobOut, responses=PROBLEMS, tags=["jobs"])
async def cancel_job(job_id: Id, ingesting: IngestingDep, tenant: TenantDep) -> Response:
    """Cancels the documents of a job that have not begun; running ones are finished."""
    return json_response(responses.job_json(await ingesting.ingest.cancel(tenant, job_id)))


@router.post(
    "/jobs/{job_id}/retry",
    status_code=202,
    response_model=responses.JobOut,
    responses=PROBLEMS,
    tags=["jobs"],
)
async def retry_job(
    job_id: Id, storage: StorageDep, queue: QueueDep, tenant: TenantDep
) -> Response:
    """Retries the failed documents of a job, unless a newer version of them is stored."""
    job = await storage.catalog.jobs.retry(tenant, job_id)
    queue.wake()
    return json_response(responses.job_json(job), status=202)
