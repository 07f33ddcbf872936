"""Batches and their files in OpenAI's form.

https://platform.openai.com/docs/api-reference/batch
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from rag.api.checked_names import sendable
from rag.api.schemas import Text
from rag.records import ENDED, Batch, BatchEndpoint, BatchFile, BatchLine, BatchState
from rag.text.validation_errors import FewUnknown

Results = Literal["output", "errors"]
_RESULTS = re.compile(r"file-(?P<batch>[0-9a-f]{32})-(?P<kind>output|errors)")
_Name = Annotated[Text, Field(min_length=1, max_length=64)]
_Value = Annotated[Text, Field(max_length=512)]


class BatchRequest(FewUnknown):
    """A batch to make, of the requests in a file."""

    model_config = ConfigDict(extra="forbid")

    input_file_id: Text = Field(max_length=256, description="Of POST /v1/files.")
    endpoint: BatchEndpoint = Field(description="The url of all its lines.")
    completion_window: Literal["24h"]
    metadata: Annotated[dict[_Name, _Value], Field(max_length=16)] | None = None


class FileOut(BaseModel):
    """A file. `purpose` is `batch_output` for those that a batch makes."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    filename: str
    purpose: Literal["batch", "batch_output"]
    status: Literal["processed"]


class FilePage(BaseModel):
    """Files; `last_id` is the `after` of the next page."""

    object: Literal["list"]
    data: list[FileOut]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedOut(BaseModel):
    """The id of what was deleted."""

    id: str
    object: Literal["file", "batch"]
    deleted: bool


class BatchError(BaseModel):
    """Why none of the lines of a batch can be answered."""

    code: str
    message: str
    line: int | None
    param: str | None


class BatchErrors(BaseModel):
    """The errors of a batch as a whole; those of lines are in the error file."""

    object: Literal["list"]
    data: list[BatchError]


class RequestCounts(BaseModel):
    """The lines of a batch, and those that have ended."""

    total: int
    completed: int
    failed: int


class BatchOut(BaseModel):
    """A batch. Times are in seconds since 1970; null: it has not come to that."""

    id: str
    object: Literal["batch"]
    endpoint: BatchEndpoint
    errors: BatchErrors | None
    input_file_id: str
    completion_window: Literal["24h"]
    status: BatchState
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


class BatchPage(BaseModel):
    """Batches, newest first; `last_id` is the `after` of the next page."""

    object: Literal["list"]
    data: list[BatchOut]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Made(NamedTuple):
    """A file that a batch makes."""

    batch_id: str
    kind: Results


def made_by(file_id: str) -> Made | None:
    """Returns the batch that makes a file, and which of its files it is; None for other files."""
    found = _RESULTS.fullmatch(file_id)
    if found is None:
        return None
    return Made(f"batch_{found['batch']}", "output" if found["kind"] == "output" else "errors")


def request_id_of(batch_id: str, line: int) -> str:
    """Returns the id of the request of a line, which the logs have, too."""
    return f"{batch_id}_{line}"


def file_json(file: BatchFile) -> dict[str, Any]:
    """Returns a file that a caller has sent, in the form of `FileOut`."""
    return _file_json(file.id, file.bytes, file.created_at, file.filename, "batch")


def result_json(batch: Batch, kind: Results, size: int) -> dict[str, Any]:
    """Returns a file that a batch has made, in the form of `FileOut`."""
    at = batch.ended_at or batch.created_at
    return _file_json(_file_id(batch, kind), size, at, f"{batch.id}_{kind}.jsonl", "batch_output")


def _file_json(id_: str, size: int, at: float, name: str, purpose: str) -> dict[str, Any]:
    return {
        "id": id_,
        "object": "file",
        "bytes": size,
        "created_at": int(at),
        "filename": name,
        "purpose": purpose,
        "status": "processed",
    }


def batch_json(batch: Batch) -> dict[str, Any]:
    """Returns a batch in the form of `BatchOut`."""
    ended, state = batch.ended_at, batch.state
    has_ended = state in ENDED
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": batch.error and {"object": "list", "data": [_error_json(batch.error)]},
        "input_file_id": batch.input_file_id,
        "completion_window": "24h",
        "status": state,
        "output_file_id": _file_id(batch, "output") if has_ended and batch.completed else None,
        "error_file_id": _file_id(batch, "errors") if has_ended and batch.failed else None,
        "created_at": int(batch.created_at),
        "in_progress_at": _seconds(batch.started_at),
        "expires_at": int(batch.expires_at),
        "finalizing_at": _seconds(ended if state == "completed" else None),
        "completed_at": _seconds(ended if state == "completed" else None),
        "failed_at": _seconds(ended if state == "failed" else None),
        "expired_at": _seconds(ended if state == "expired" else None),
        "cancelling_at": _seconds(batch.cancelling_at),
        "cancelled_at": _seconds(ended if state == "cancelled" else None),
        "request_counts": {
            "total": batch.total,
            "completed": batch.completed,
            "failed": batch.failed,
        },
        "metadata": batch.metadata,
    }


def page_json(items: Sequence[dict[str, Any]], *, limit: int) -> dict[str, Any]:
    """Returns a page of at most `limit` of these items; one more of them is on the next."""
    page = items[:limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(items) > limit,
    }


def line_json(batch: Batch, line: BatchLine) -> bytes:
    """Returns a line of an output file or an error file."""
    id_ = request_id_of(batch.id, line.line)
    head = {"id": id_, "custom_id": line.custom_id, "line": line.line}
    response = "null"
    if line.response is not None:  # JSON already
        response = f'{{"status_code":{line.status},"request_id":"{id_}","body":{line.response}}}'
    error = json.dumps(line.error and dict(line.error))
    return f'{json.dumps(head)[:-1]}, "response":{response}, "error":{error}}}\n'.encode()


def _file_id(batch: Batch, kind: Results) -> str:
    return f"file-{batch.id.removeprefix('batch_')}-{kind}"


def _error_json(error: Any) -> dict[str, Any]:
    return {
        "code": error["code"],
        "message": sendable(error["message"]),
        "line": None,
        "param": None,
    }


def _seconds(at: float | None) -> int | None:
    return None if at is None else int(at)
