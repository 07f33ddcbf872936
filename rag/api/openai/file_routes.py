"""The endpoints of files: requests that batches are made of, and what batches make of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from ingest.readers.media_types import essence
from rag.api.auditing import audited, note_object
from rag.api.checked_names import sendable
from rag.api.deps import PrincipalDep, StorageDep, needs
from rag.api.large_bodies import OffLoopRoute
from rag.api.openai import batch_json as wire
from rag.api.openai.routes import ERRORS
from rag.api.routes.common import Id, json_response
from rag.build.storage import Storage
from rag.catalog.batch_files import no_file
from rag.errors import ConflictError, InputError, NotFoundError, TooLargeError
from rag.records import ENDED, Batch, BatchFile
from rag.types import Principal

NAME_CHARS = 255
MAX_PAGE = 10_000
_FIELDS = {"purpose", "file"}
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
After = Annotated[str | None, Query(max_length=256)]
_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["purpose", "file"],
                    "additionalProperties": False,
                    "properties": {
                        "purpose": {"const": "batch"},
                        "file": {"type": "string", "format": "binary", "minLength": 1},
                    },
                },
                "encoding": {"file": {"contentType": "application/jsonl"}},
            }
        },
    }
}
_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The lines of the file.",
        "content": {"application/jsonl": {"schema": {"type": "string", "format": "binary"}}},
    }
}
router = APIRouter(
    prefix="/v1",
    tags=["batches"],
    responses=ERRORS,
    route_class=OffLoopRoute,
    dependencies=[needs("ask")],
)


@router.post(
    "/files",
    response_model=wire.FileOut,
    openapi_extra=_FORM,
    dependencies=[audited("file.create")],
)
async def create_file(request: Request, storage: StorageDep, caller: PrincipalDep) -> Response:
    """Stores a file of requests, one a line, for a batch."""
    if essence(request.headers.get("content-type", "")) != "multipart/form-data":
        raise InputError("A file comes as multipart/form-data.", code="unsupported_media_type")
    try:
        async with request.form(max_files=1, max_fields=len(_FIELDS)) as form:
            name, content = await _file_of(form, limit=storage.settings.batches.file_mb << 20)
    except HTTPException as error:
        detail = f"The form cannot be read: {error.detail}"
        raise InputError(detail, code="malformed_form") from error
    file = await storage.catalog.batch_files.add(caller, name, content)
    note_object(request, file.id)
    return json_response(wire.file_json(file))


@router.get("/files", response_model=wire.FilePage)
async def list_files(
    *,
    storage: StorageDep,
    caller: PrincipalDep,
    purpose: Literal["batch", "batch_output"] = "batch",
    limit: Limit = 100,
    after: After = None,
    order: Literal["asc", "desc"] = "desc",
) -> Response:
    """Lists the caller's files, newest first; those that batches make are named by the batches."""
    found: Sequence[BatchFile] = []
    if purpose == "batch":
        found = await storage.catalog.batch_files.page(
            caller,
            limit=limit + 1,
            after=after and sendable(after),
            oldest_first=order == "asc",
        )
    return json_response(wire.page_json([wire.file_json(each) for each in found], limit=limit))


@router.get("/files/{file_id}", response_model=wire.FileOut)
async def get_file(file_id: Id, storage: StorageDep, caller: PrincipalDep) -> Response:
    """Returns a file, without its content."""
    made = wire.made_by(file_id)
    if made is None:
        return json_response(wire.file_json(await storage.catalog.batch_files.get(caller, file_id)))
    batch = await _batch_of(storage, caller, file_id, made)
    size = 0
    async for line in _lines(storage, caller, batch, made.kind):
        size += len(line)
    return json_response(wire.result_json(batch, made.kind, size))


@router.get(
    "/files/{file_id}/content",
    response_class=Response,
    responses=_CONTENT,
    dependencies=[audited("file.read")],
)
async def get_file_content(file_id: Id, storage: StorageDep, caller: PrincipalDep) -> Response:
    """Returns the content of a file: what was sent, or the responses of a batch, one a line."""
    made = wire.made_by(file_id)
    if made is None:
        file = await storage.catalog.batch_files.get(caller, file_id)
        return _content(storage.catalog.batch_files.content(file.id))
    batch = await _batch_of(storage, caller, file_id, made)
    return _content(_lines(storage, caller, batch, made.kind))


@router.delete(
    "/files/{file_id}", response_model=wire.DeletedOut, dependencies=[audited("file.delete")]
)
async def delete_file(file_id: Id, storage: StorageDep, caller: PrincipalDep) -> Response:
    """Deletes a file that was sent; a batch that has begun goes on."""
    if (made := wire.made_by(file_id)) is not None:
        await _batch_of(storage, caller, file_id, made)
        raise ConflictError(
            f"The file is a part of its batch: DELETE /v1/batches/{made.batch_id} deletes both.",
            code="file_of_batch",
        )
    await storage.catalog.batch_files.delete(caller, file_id)
    return json_response({"id": file_id, "object": "file", "deleted": True})


async def _file_of(form: FormData, *, limit: int) -> tuple[str, bytes]:
    """Returns the name and the content of the form's file.

    Raises:
        InputError: The form is not one of a file for a batch.
    """
    if unknown := set(form) - _FIELDS:
        raise InputError(f"Unknown form fields: {', '.join(sorted(unknown))}.")
    if form.get("purpose") != "batch":
        raise InputError("purpose: files are for batches, and it is 'batch'.")
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise InputError("No file came: send it in the form field `file`.", code="no_file")
    content = await file.read()
    if not content:
        raise InputError("The file is empty.", code="empty_file")
    if len(content) > limit:
        raise TooLargeError(
            f"The file is over {limit >> 20} MiB. Split it, or raise the setting batches.file_mb."
        )
    return sendable(file.filename or "file.jsonl")[:NAME_CHARS], content


async def _batch_of(storage: Storage, caller: Principal, file_id: str, made: wire.Made) -> Batch:
    """Returns the batch that has made a file.

    Raises:
        NotFoundError: There is no such file, or the batch has not ended.
    """
    try:
        batch = await storage.catalog.batches.get(caller, made.batch_id)
    except NotFoundError:
        raise no_file(file_id) from None
    if batch.state not in ENDED:
        raise no_file(file_id)
    return batch


async def _lines(
    storage: Storage, caller: Principal, batch: Batch, kind: wire.Results
) -> AsyncIterator[bytes]:
    state: Literal["done", "failed"] = "done" if kind == "output" else "failed"
    async for line in storage.catalog.batch_results.lines(caller, batch.id, state):
        yield wire.line_json(batch, line)


def _content(parts: AsyncIterator[bytes]) -> Response:
    headers = {"X-Content-Type-Options": "nosniff", "Content-Disposition": "attachment"}
    return StreamingResponse(parts, media_type="application/jsonl", headers=headers)
