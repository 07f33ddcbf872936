"""The responses of the endpoints of batches and their files, in OpenAI's form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from .responses import Response

BatchEndpoint = Literal["/v1/chat/completions", "/v1/query", "/v1/search", "/v1/embeddings"]
BatchStatus = (
    Literal[
        "validating", "in_progress", "cancelling", "completed", "failed", "expired", "cancelled"
    ]
    | str
)


class BatchFile(Response):
    """A file: `batch`, of requests, or `batch_output`, which a batch makes."""

    id: str
    object: str
    bytes: int
    created_at: int
    filename: str
    purpose: Literal["batch", "batch_output"]
    status: str


class BatchFilePage(Response):
    """A page of files."""

    object: str
    data: list[BatchFile]
    first_id: str | None
    last_id: str | None
    has_more: bool

    @property
    def items(self) -> Sequence[BatchFile]:
        """The files."""
        return self.data

    @property
    def next_cursor(self) -> str | None:
        """The `after` of the next page; None on the last."""
        return self.last_id if self.has_more else None


class BatchError(Response):
    """Why none of the lines of a batch can be answered."""

    code: str
    message: str
    line: int | None
    param: str | None


class BatchErrors(Response):
    """The errors of a batch as a whole."""

    object: str
    data: list[BatchError]


class RequestCounts(Response):
    """The lines of a batch, and those that have ended."""

    total: int
    completed: int
    failed: int


class Batch(Response):
    """A batch. Times are in seconds since 1970; None: it has not come to that."""

    id: str
    object: str
    endpoint: BatchEndpoint
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: BatchStatus
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    metadata: dict[str, str] | None


class BatchPage(Response):
    """A page of batches."""

    object: str
    data: list[Batch]
    first_id: str | None
    last_id: str | None
    has_more: bool

    @property
    def items(self) -> Sequence[Batch]:
        """The batches."""
        return self.data

    @property
    def next_cursor(self) -> str | None:
        """The `after` of the next page; None on the last."""
        return self.last_id if self.has_more else None


class Deleted(Response):
    """The id of what was deleted."""

    id: str
    object: Literal["file", "batch"]
    deleted: bool
