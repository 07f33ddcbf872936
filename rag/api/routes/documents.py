"""The endpoints of documents."""

from __future__ import annotations

import base64
import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from rag.api import contents, originals, responses, shapes, submissions
from rag.api.acl_json import AclIn, AclOut, acl_json
from rag.api.auditing import audited, note_object
from rag.api.checked_names import sendable
from rag.api.deps import (
    IngestingDep,
    PrincipalDep,
    QueueDep,
    ScopeDep,
    StorageDep,
    TraceDep,
    meter_of,
    needs,
)
from rag.api.routes.common import PROBLEMS, DocumentRoute, Id, json_response
from rag.build.storage import Storage
from rag.errors import InputError, NotFoundError
from rag.types import Readers, Scope, State

MAX_EXPIRES_IN = 30 * 24 * 3600
_PLACE = re.compile("[0-9]{1,9}")
Limit = Annotated[int, Query(ge=1, le=1000)]
Cursor = Annotated[str | None, Query(max_length=2800, json_schema_extra={"pattern": shapes.CURSOR})]
Place = Annotated[str | None, Query(max_length=2000, json_schema_extra={"pattern": "^[0-9]{1,9}$"})]
ExpiresIn = Annotated[float | None, Query(gt=0, le=MAX_EXPIRES_IN)]

router = APIRouter(prefix="/v1", route_class=DocumentRoute)


@router.post(
    "/documents",
    status_code=202,
    response_model=responses.Accepted,
    responses=PROBLEMS,
    tags=["documents"],
    openapi_extra=submissions.OPENAPI,
    dependencies=[needs("write"), audited("document.ingest")],
)
async def submit_documents(
    *,
    request: Request,
    ingesting: IngestingDep,
    queue: QueueDep,
    caller: PrincipalDep,
    trace: TraceDep,
    expires_in: ExpiresIn = None,
) -> Response:
    """Accepts documents, as JSON or as files; a job ingests them.

    With `expires_in`, documents that have not begun within that many seconds fail.
    """
    if ingesting.settings.embedder.input_price:
        await meter_of(request).reserve(0)  # their tokens are not known before they are read
    taken = await submissions.take(request, ingesting, caller)
    job_id = await ingesting.ingest.accept(
        taken.scope, taken.submissions, trace, expires_in=expires_in
    )
    queue.wake()
    note_object(request, job_id, collection=taken.scope.collection)
    body = {
        "job_id": job_id,
        "documents": [{"id": s.document_id, "state": "pending"} for s in taken.submissions],
        "notices": taken.notices,
    }
    return json_response(body, status=202, headers={"Location": f"/v1/jobs/{job_id}"})


@router.get(
    "/documents",
    response_model=responses.DocumentPage,
    responses=PROBLEMS,
    tags=["documents"],
    dependencies=[needs("read")],
)
async def list_documents(
    *,
    storage: StorageDep,
    scope: ScopeDep,
    limit: Limit = 50,
    cursor: Cursor = None,
    uri_prefix: Id = "",
    state: State | None = None,
) -> Response:
    """Lists documents in the order of their ids, each from the moment it was accepted.

    With `uri_prefix`, only those whose uri begins with it: `file:///handbook/` lists a folder. With
    `state=failed`, the dead letters, each with its error.
    """
    await storage.catalog.collections.check_exists(scope)
    records = await storage.catalog.documents.page(
        scope, limit=limit + 1, after=_after(cursor), state=state, uri_prefix=uri_prefix
    )
    page = records[:limit]
    more = _cursor(page[-1].id) if len(records) > limit else None
    return json_response(
        {"documents": [responses.document_json(r) for r in page], "next_cursor": more}
    )


# An id may hold slashes and takes the rest of the path, so the routes below it come first.
@router.get(
    "/documents/{document_id:path}/chunks",
    response_model=responses.ChunkPage,
    responses=PROBLEMS,
    tags=["documents"],
    dependencies=[needs("read"), audited("document.read")],
)
async def list_chunks(
    document_id: Id,
    ingesting: IngestingDep,
    scope: ScopeDep,
    limit: Limit = 50,
    cursor: Place = None,
) -> Response:
    """Lists a document's chunks in the order of its text."""
    await ingesting.catalog.documents.get(scope, document_id)
    if cursor is not None and not _PLACE.fullmatch(cursor):
        raise InputError("The cursor is not one that this listing gave.", code="invalid_cursor")
    ids = await ingesting.index.chunk_ids(scope, document_id)
    chunks = sorted(await ingesting.index.fetch(scope, sorted(ids)), key=lambda c: c.position)
    start = int(cursor or 0)
    page = chunks[start : start + limit]
    more = str(start + limit) if start + limit < len(chunks) else None
    return json_response({"chunks": [responses.chunk_json(c) for c in page], "next_cursor": more})


@router.get(
    "/documents/{document_id:path}/content",
    response_class=Response,
    responses={**contents.OPENAPI, **PROBLEMS},
    tags=["documents"],
    dependencies=[needs("read"), audited("document.read")],
)
async def get_content(
    *,
    request: Request,
    document_id: Id,
    ingesting: IngestingDep,
    scope: ScopeDep,
    as_: Annotated[Literal["text", "original"] | None, Query(alias="as")] = None,
) -> Response:
    """Returns the original file of a document; if none is kept of it, its text.

    With `as=text`, returns the text that was read from it: `start` and `end` of citations count its
    code points. With `as=original`, the file alone.
    """
    documents = ingesting.catalog.documents
    if as_ != "text":
        record = await documents.get(scope, document_id)
        if record.original:
            path = ingesting.originals.of(scope.tenant).path(record.original)
            return await originals.response(request, path, record)
        if as_ == "original":
            raise NotFoundError(
                f"No original is kept of the document {document_id!r}; ?as=text is its text.",
                code="no_original",
            )
    return await contents.response(request, await documents.content(scope, document_id))


@router.get(
    "/documents/{document_id:path}/acl",
    response_model=AclOut,
    responses=PROBLEMS,
    tags=["documents"],
    dependencies=[needs("write")],
)
async def get_acl(document_id: Id, storage: StorageDep, scope: ScopeDep) -> Response:
    """Returns who may read a document."""
    record = await storage.catalog.documents.get(scope, document_id)
    return json_response(await _acl_of(storage, scope, record.acl))


@router.put(
    "/documents/{document_id:path}/acl",
    response_model=AclOut,
    responses=PROBLEMS,
    tags=["documents"],
    dependencies=[needs("write"), audited("acl.change", at_once=True)],
)
async def put_acl(
    document_id: Id, body: AclIn, ingesting: IngestingDep, scope: ScopeDep
) -> Response:
    """Replaces the readers of a document; they may read it from the next question on."""
    await ingesting.ingest.permissions.change(scope, document_id, body.words())
    return json_response(await _acl_of(ingesting, scope, body.words()))


@router.delete(
    "/documents/{document_id:path}/acl",
    response_model=AclOut,
    responses=PROBLEMS,
    tags=["documents"],
    dependencies=[needs("write"), audited("acl.change", at_once=True)],
)
async def delete_acl(document_id: Id, ingesting: IngestingDep, scope: ScopeDep) -> Response:
    """Removes the ACL of a document: it follows the default of its collection again."""
    await ingesting.ingest.permissions.change(scope, document_id, None)
    return json_response(await _acl_of(ingesting, scope, None))


@router.get(
    "/documents/{document_id:path}",
    response_model=responses.DocumentOut,
    responses=PROBLEMS,
    tags=["documents"],
    dependencies=[needs("read"), audited("document.read")],
)
async def get_document(document_id: Id, storage: StorageDep, scope: ScopeDep) -> Response:
    """Returns one document and its state."""
    return json_response(
        responses.document_json(await storage.catalog.documents.get(scope, document_id))
    )


@router.delete(
    "/documents/{document_id:path}",
    status_code=204,
    responses=PROBLEMS,
    tags=["documents"],
    dependencies=[needs("write"), audited("document.delete", at_once=True)],
)
async def delete_document(document_id: Id, ingesting: IngestingDep, scope: ScopeDep) -> Response:
    """Removes a document from index and catalog."""
    await ingesting.ingest.delete(scope, document_id)
    return Response(status_code=204)


async def _acl_of(storage: Storage, scope: Scope, acl: Readers | None) -> dict[str, Any]:
    if acl is not None:
        return acl_json(acl, inherited=False)
    return acl_json(await storage.catalog.acls.default(scope), inherited=True)


def _cursor(after: str) -> str:
    return base64.urlsafe_b64encode(after.encode()).decode()


def _after(cursor: str | None) -> str:
    try:
        after = base64.b64decode(cursor or "", altchars=b"-_", validate=True)
    except ValueError as error:
        raise InputError(
            "The cursor is not one that this listing gave.", code="invalid_cursor"
        ) from error
    return sendable(after.decode(errors="replace"))  # a position, not always an id
