"""The endpoints of jobs."""

from __future__ import annotations

from .call import Call, read_as, segment
from .responses import Job


def get_job(job_id: str) -> Call[Job]:
    """Returns the progress of a job."""
    return Call(method="GET", path=f"/v1/jobs/{segment(job_id)}", read=read_as(Job))


def cancel_job(job_id: str) -> Call[Job]:
    """Cancels the documents of a job that have not begun; running ones are finished."""
    return Call(method="DELETE", path=f"/v1/jobs/{segment(job_id)}", read=read_as(Job))


def retry_job(job_id: str) -> Call[Job]:
    """Retries the failed documents of a job, unless a newer version of them is stored."""
    return Call(method="POST", path=f"/v1/jobs/{segment(job_id)}/retry", read=read_as(Job))
