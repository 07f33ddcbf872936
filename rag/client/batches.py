"""The endpoints of batches: many requests in one file, answered in the background."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import httpx

from .batch_responses import Batch, BatchEndpoint, BatchFile, BatchFilePage, BatchPage, Deleted
from .call import Call, Form, given, read_as, segment
from .requests import File


def create_file(file: File) -> Call[BatchFile]:
    """Stores a file of requests, one a line, for a batch."""
    return Call(
        method="POST",
        path="/v1/files",
        form=Form(fields={"purpose": "batch"}, files=[file], name="file"),
        read=read_as(BatchFile),
        repeatable=False,
    )


def list_files(
    *,
    purpose: Literal["batch", "batch_output"] | None = None,
    limit: int | None = None,
    after: str | None = None,
    order: Literal["asc", "desc"] | None = None,
) -> Call[BatchFilePage]:
    """Lists the caller's files, newest first; those that batches make are named by the batches."""
    params = {"purpose": purpose, "limit": limit, "after": after, "order": order}
    return Call(
        method="GET",
        path="/v1/files",
        params=params,
        read=read_as(BatchFilePage),
        cursor="after",
    )


def get_file(file_id: str) -> Call[BatchFile]:
    """Returns a file, without its content."""
    return Call(method="GET", path=_file(file_id), read=read_as(BatchFile))


def get_file_content(file_id: str) -> Call[bytes]:
    """Returns the content of a file: what was sent, or the responses of a batch, one a line."""
    return Call(method="GET", path=f"{_file(file_id)}/content", read=_content)


def delete_file(file_id: str) -> Call[Deleted]:
    """Deletes a file that was sent; a batch that has begun goes on."""
    return Call(method="DELETE", path=_file(file_id), read=read_as(Deleted))


def create_batch(
    input_file_id: str,
    endpoint: BatchEndpoint,
    *,
    completion_window: str = "24h",
    metadata: Mapping[str, str] | None = None,
) -> Call[Batch]:
    """Makes a batch of the requests in a file, which are answered within 24 hours."""
    body = given(
        input_file_id=input_file_id,
        endpoint=endpoint,
        completion_window=completion_window,
        metadata=metadata,
    )
    return Call(method="POST", path="/v1/batches", body=body, read=read_as(Batch), repeatable=False)


def list_batches(*, limit: int | None = None, after: str | None = None) -> Call[BatchPage]:
    """Lists the caller's batches, newest first."""
    params = {"limit": limit, "after": after}
    return Call(
        method="GET", path="/v1/batches", params=params, read=read_as(BatchPage), cursor="after"
    )


def get_batch(batch_id: str) -> Call[Batch]:
    """Returns a batch, with the numbers of its lines."""
    return Call(method="GET", path=_batch(batch_id), read=read_as(Batch))


def cancel_batch(batch_id: str) -> Call[Batch]:
    """Ends the lines that are not under way; the batch ends with those that are."""
    return Call(method="POST", path=f"{_batch(batch_id)}/cancel", read=read_as(Batch))


def delete_batch(batch_id: str) -> Call[Deleted]:
    """Deletes a batch that has ended, with its responses."""
    return Call(method="DELETE", path=_batch(batch_id), read=read_as(Deleted))


def _file(file_id: str) -> str:
    return f"/v1/files/{segment(file_id)}"


def _batch(batch_id: str) -> str:
    return f"/v1/batches/{segment(batch_id)}"


def _content(response: httpx.Response) -> bytes:
    return response.content
