"""Turns documents that come over HTTP into bytes on disk and their submissions."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import PurePath
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from ingest.readers.media_types import essence
from rag.api import shapes
from rag.api.acl_json import AclIn, acl_of_form
from rag.api.checked_names import checked_name
from rag.api.deps import scope_in, state_of
from rag.api.json_documents import check_size, check_unique, take_json
from rag.api.schemas import URI_CHARS, DocumentsRequest
from rag.build.ingest import Ingesting
from rag.errors import ConflictError, InputError, NotFoundError, TooLargeError
from rag.records import Submission
from rag.settings.tree import COLLECTION
from rag.text.validation_errors import shortened
from rag.types import Principal, Readers, Scope

_SAME_NAME = (
    "If they are two documents, send a `uri` for each file, or its folders in its name"
    " (`manuals/readme.txt`)."
)


def _json_schema() -> dict[str, Any]:
    """Returns pydantic's schema in one piece: its references do not resolve within OpenAPI's."""
    schema = DocumentsRequest.model_json_schema()
    named = schema.pop("$defs")
    document = named["DocumentIn"]
    document["properties"]["acl"]["anyOf"][0] = named["AclIn"]
    schema["properties"]["documents"]["items"] = document
    return schema


_URI = {"type": "string", "minLength": 1, "maxLength": URI_CHARS, "pattern": shapes.NAME}
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
                        "acl": {
                            **AclIn.model_json_schema(),
                            "description": "Who may read the files, as JSON; left out: as before.",
                        },
                        "uri": {
                            **shapes.either(_URI, shapes.list_of(_URI)),
                            "description": "Where each file comes from, in the order of the files;"
                            " without it, the file's name and folders tell it apart.",
                        },
                    },
                },
                "encoding": {"acl": {"contentType": "application/json"}},
            },
        },
    }
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The documents of a request, stored; `notices` are sentences about them for the sender."""

    scope: Scope
    submissions: list[Submission]
    notices: list[str] = field(default_factory=list)


async def take(request: Request, opened: Ingesting, caller: Principal) -> Taken:
    """Stores the documents of a request: all of them, or none on an error.

    Raises:
        InputError: A document cannot be ingested, or there are no documents.
        StorageError: The disk is full.
    """
    kind = essence(request.headers.get("content-type", ""))
    if kind == "multipart/form-data":
        return await _take_form(request, opened, caller)
    if kind == "application/json":
        turn = state_of(request).turn
        spool = opened.spool.of(caller.tenant)
        sent = await take_json(request, spool, opened.settings.limits, turn=turn)
        try:
            scope = scope_in(caller, sent.collection)
        except NotFoundError:
            await asyncio.to_thread(spool.sweep, {s.source["spool"] for s in sent.submissions})
            raise
        return Taken(scope=scope, submissions=sent.submissions)
    raise InputError(
        f"Documents come as application/json or multipart/form-data, not as {kind or 'nothing'!r}.",
        code="unsupported_media_type",
    )


async def _take_form(request: Request, opened: Ingesting, caller: Principal) -> Taken:
    limit = opened.settings.limits.upload_documents
    try:
        # One uri for each file, the collection and the ACL.
        async with request.form(max_files=limit, max_fields=limit + 2) as form:
            return await _take_files(form, opened, caller)
    except HTTPException as error:
        if error.detail.startswith("Too many"):
            raise TooLargeError(
                f"{error.detail} The setting is limits.upload_documents; or send several requests."
            ) from error
        raise InputError(
            f"The form cannot be read: {error.detail}", code="malformed_form"
        ) from error


async def _take_files(form: FormData, opened: Ingesting, caller: Principal) -> Taken:
    collection = form.get("collection", "default")
    if not isinstance(collection, str) or not re.fullmatch(COLLECTION, collection):
        raise InputError(f"collection: it is text that matches {COLLECTION}.")
    files = [f for f in form.getlist("files") if isinstance(f, UploadFile)]
    uris = [u for u in form.getlist("uri") if isinstance(u, str)]
    if unknown := set(form) - {"collection", "files", "uri", "acl"}:
        raise InputError(f"Unknown form fields: {', '.join(sorted(unknown))}. Files go in `files`.")
    acl = _acl_of(form)
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
    is_named = not uris
    uris = uris or [_uri_of(file.filename or "") for file in files]
    check_unique(uris, hint=_SAME_NAME if is_named else "")
    keep = [
        (await file.read(), {"uri": uri, "name": PurePath(file.filename or "").name})
        for file, uri in zip(files, uris, strict=True)
    ]
    scope = await opened.catalog.collections.seen(scope_in(caller, collection))
    kept = await asyncio.to_thread(opened.spool.of(caller.tenant).put_all, keep)
    submissions = [replace(submission, acl=acl) for submission in kept]
    sent = {s.document_id: data for s, (data, _) in zip(submissions, keep, strict=True)}
    notices = await _replaced(opened, scope, sent) if is_named else []
    return Taken(scope=scope, submissions=submissions, notices=notices)


def _acl_of(form: FormData) -> Readers | None:
    given = form.getlist("acl")
    if not given:
        return None
    if len(given) > 1 or not isinstance(given[0], str):
        raise InputError("acl: it is one field of text, for all files of the request.")
    return acl_of_form(given[0])


def _uri_of(filename: str) -> str:
    """Returns the uri of a file of which nothing but the name is known: its folders tell it apart.

    Windows' separators are taken as such; a path's root and steps upwards are left out.
    """
    parts = filename.replace("\\", "/").split("/")
    return "upload:" + "/".join(part for part in parts if part not in ("", ".", ".."))


async def _replaced(opened: Ingesting, scope: Scope, sent: Mapping[str, bytes]) -> list[str]:
    """Returns a notice for each document that other bytes of the same name replace."""
    notices = []
    for document_id, data in sent.items():
        try:
            before = await opened.catalog.documents.get(scope, document_id)
        except NotFoundError:
            continue
        if before.version and before.version != sha256(data).hexdigest():
            happens = "with other content, and is replaced"
        elif before.state in ("pending", "running"):
            happens = "is not read yet, and is replaced if its content differs"
        else:
            continue
        notices.append(
            f"{shortened(before.uri)} was sent before, {happens}: a file without a `uri` is known"
            f" by its name. {_SAME_NAME}"
        )
    return notices


def _check_name(name: str) -> None:
    try:
        checked_name(name)
    except ValueError as error:
        raise InputError(f"A name of a file or its uri cannot be stored: {error}.") from error


def _check_file(file: UploadFile, opened: Ingesting) -> None:
    name = PurePath(file.filename or "").name
    if not name:
        raise InputError("A file came without a name: its extension says how it is read.")
    if not file.size:
        raise InputError(f"{name} is empty.", code="empty_document")
    check_size(file.size, name, opened.settings.limits)
