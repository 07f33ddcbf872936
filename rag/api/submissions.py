"""Turns documents that come over HTTP into bytes on disk and their submissions."""

from __future__ import annotations

import asyncio
import re
from pathlib import PurePath
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from ingest.readers.media_types import essence
from rag.api import shapes
from rag.api.deps import state_of
from rag.api.json_documents import check_size, check_unique, take_json
from rag.api.schemas import URI_CHARS, DocumentsRequest, storable
from rag.build.ingest import Ingesting
from rag.errors import ConflictError, InputError, TooLargeError
from rag.records import Submission
from rag.settings.tree import COLLECTION
from rag.types import Scope


def _json_schema() -> dict[str, Any]:
    """Returns pydantic's schema in one piece: its references do not resolve within OpenAPI's."""
    schema = DocumentsRequest.model_json_schema()
    schema["properties"]["documents"]["items"] = schema.pop("$defs")["DocumentIn"]
    return schema


_URI = {"type": "string", "minLength": 1, "maxLength": URI_CHARS, "pattern": shapes.NO_NUL}
OPENAPI: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": _json_schema(),
                "example": {
                    "collection": "default",
                    "documents": [
                        {
                            "id": "handbook-7",
                            "title": "Handbook, page 7",
                            "text": "The office opens at nine.",
                            "uri": "https://intranet.example/handbook#7",
                            "meta": {"year": 2024},
                        }
                    ],
                },
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "additionalProperties": False,
                    "properties": {
                        "collection": {
                            "type": "string",
                            "default": "default",
                            "pattern": COLLECTION,
                        },
                        "files": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary", "minLength": 1},
                            "minItems": 1,
                        },
                        "uri": {
                            **shapes.either(_URI, shapes.list_of(_URI)),
                            "description": "Where each file comes from, in the order of the files.",
                        },
                    },
                }
            },
        },
    }
}


async def take(request: Request, opened: Ingesting, tenant: str) -> tuple[Scope, list[Submission]]:
    """Stores the documents of a request: all of them, or none on an error.

    Raises:
        InputError: A document cannot be ingested, or there are no documents.
        StorageError: The disk is full.
    """
    kind = essence(request.headers.get("content-type", ""))
    if kind == "multipart/form-data":
        return await _take_form(request, opened, tenant)
    if kind == "application/json":
        turn = state_of(request).turn
        spool = opened.spool.of(tenant)
        sent = await take_json(request, spool, opened.settings.limits, turn=turn)
        return Scope(tenant=tenant, collection=sent.collection), sent.submissions
    raise InputError(
        f"Documents come as application/json or multipart/form-data, not as {kind or 'nothing'!r}.",
        code="unsupported_media_type",
    )


async def _take_form(
    request: Request, opened: Ingesting, tenant: str
) -> tuple[Scope, list[Submission]]:
    limit = opened.settings.limits.upload_documents
    try:
        # One uri for each file, and the collection.
        async with request.form(max_files=limit, max_fields=limit + 1) as form:
            return await _take_files(form, opened, tenant)
    except HTTPException as error:
        if error.detail.startswith("Too many"):
            raise TooLargeError(
                f"{error.detail} The setting is limits.upload_documents; or send several requests."
            ) from error
        raise InputError(
            f"The form cannot be read: {error.detail}", code="malformed_form"
        ) from error


async def _take_files(
    form: FormData, opened: Ingesting, tenant: str
) -> tuple[Scope, list[Submission]]:
    collection = form.get("collection", "default")
    if not isinstance(collection, str) or not re.fullmatch(COLLECTION, collection):
        raise InputError(f"collection: it is text that matches {COLLECTION}.")
    files = [f for f in form.getlist("files") if isinstance(f, UploadFile)]
    uris = [u for u in form.getlist("uri") if isinstance(u, str)]
    if unknown := set(form) - {"collection", "files", "uri"}:
        raise InputError(f"Unknown form fields: {', '.join(sorted(unknown))}. Files go in `files`.")
    if not files:
        raise InputError("No files came: send them in the form field `files`.", code="no_files")
    if uris and len(uris) != len(files):
        raise ConflictError(
            f"{len(files)} files came with {len(uris)} uris: send one for each file."
        )
    if any(not 0 < len(uri) <= URI_CHARS for uri in uris):
        raise InputError(f"uri: it has 1 to {URI_CHARS} characters.")
    for name in (*uris, *(file.filename or "" for file in files)):
        _check_name(name)
    for file in files:
        _check_file(file, opened)
    uris = uris or [f"upload:{PurePath(file.filename or '').name}" for file in files]
    check_unique(uris)
    keep = [
        (await file.read(), {"uri": uri, "name": PurePath(file.filename or "").name})
        for file, uri in zip(files, uris, strict=True)
    ]
    scope = Scope(tenant=tenant, collection=collection)
    return scope, await asyncio.to_thread(opened.spool.of(tenant).put_all, keep)


def _check_name(name: str) -> None:
    try:
        storable(name)
    except ValueError as error:
        raise InputError(f"A name of a file or its uri cannot be stored: {error}.") from error


def _check_file(file: UploadFile, opened: Ingesting) -> None:
    name = PurePath(file.filename or "").name
    if not name:
        raise InputError("A file came without a name: its extension says how it is read.")
    if not file.size:
        raise InputError(f"{name} is empty.", code="empty_document")
    check_size(file.size, name, opened.settings.limits)
