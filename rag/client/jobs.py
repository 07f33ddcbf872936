"""The endpoints of jobs."""

from __future__ import annotations

from typing import Literal

from .call import Call, read_as, segment
from .responses import Job, JobPage

State = Literal["pending", "running", "succeeded", "failed", "cancelled", "skipped", "partial"]


def list_jobs(
    *, state: State | None = None, limit: int | None = None, cursor: str | None = None
) -> Call[JobPage]:
    """Lists jobs, newest first, each with its first three failures.

    With `state`, a page may be empty although others follow: as long as there is a `next_cursor`.
    """
    params = {"state": state, "limit": limit, "cursor": cursor}
    return Call(method="GET", path="/v1/jobs", params=params, read=read_as(JobPage))


def get_job(job_id: str) -> Call[Job]:
    """Returns the progress of a job."""
    return Call(method="GET", path=f"/v1/jobs/{segment(job_id)}", read=read_as(Job))


def cancel_job(job_id: str) -> Call[Job]:
    """Cancels the documents of a job that have not begun; running ones are finished."""
    return Call(method="DELETE", path=f"/v1/jobs/{segment(job_id)}", read=read_as(Job))


def retry_job(job_id: str) -> Call[Job]:
    """Retries the failed documents of a job, unless a newer version of them is stored."""
    return Call(method="POST", path=f"/v1/jobs/{segment(job_id)}/retry", read=read_as(Job))
