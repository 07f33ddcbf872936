"""The REST endpoints, thin: check, call, write."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import AfterValidator
from pydantic_core import to_json
from starlette.responses import PlainTextResponse, Response

from rag import metrics
from rag.api import contents, responses, schemas, shapes, sse, submissions
from rag.api.deps import QueueDep, ScopeDep, ServiceDep, TraceDep, state_of
from rag.api.large_bodies import OffLoopRoute
from rag.api.middleware import until_hangup
from rag.api.problems import amid_stream
from rag.api.questions import label, to_query
from rag.build import TENANT, Service
from rag.errors import InputError, StorageError, UpstreamError
from rag.pipeline import Event
from rag.records import Backlog
from rag.types import Answer, Citation, SamplingOverrides, State
from rag.types import Query as Question

MAX_EXPIRES_IN = 30 * 24 * 3600
BACKLOG_SECONDS = 2.0
"""For what the catalog says in `/metrics`: Prometheus waits for ten, and the rest is there."""
_PLACE = re.compile("[0-9]{1,9}")
BULK_FROM = 17
"""Documents in one request: from here on they wait for those that come in ones and twos."""

router = APIRouter(prefix="/v1", route_class=OffLoopRoute)
health = APIRouter(include_in_schema=True, tags=["health"])
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": responses.Problem, "description": "A problem (RFC 9457)."},
    "5XX": {"model": responses.Problem, "description": "A problem (RFC 9457)."},
}
Id = Annotated[str, AfterValidator(schemas.sendable)]
"""A name in a request; one that no database can take names nothing."""
Limit = Annotated[int, Query(ge=1, le=1000)]
Cursor = Annotated[str | None, Query(max_length=2800, json_schema_extra={"pattern": shapes.CURSOR})]
Place = Annotated[str | None, Query(max_length=2000, json_schema_extra={"pattern": "^[0-9]{1,9}$"})]
ExpiresIn = Annotated[float | None, Query(gt=0, le=MAX_EXPIRES_IN)]


@router.post(
    "/search", response_model=responses.SearchResponse, responses=PROBLEMS, tags=["questions"]
)
async def search(
    request: Request, body: schemas.SearchRequest, service: ServiceDep, trace: TraceDep
) -> Response:
    """The chunks that answer a query, without an answer made of them."""
    label(trace, body)
    question = _question(body, SamplingOverrides(), service)
    hits = await until_hangup(request, service.query.search(question, trace))
    return _json(
        {
            "hits": [responses.hit_json(hit) for hit in hits],
            "timings": trace.timings,
            "degraded": trace.degraded,
            "trace_id": trace.id,
        }
    )


@router.post(
    "/query",
    response_model=responses.QueryResponse,
    responses={200: sse.DOCUMENTED, **PROBLEMS},
    tags=["questions"],
)
async def query(
    request: Request, body: schemas.QueryRequest, service: ServiceDep, trace: TraceDep
) -> Response:
    """An answer with its citations, to a question or to the last one of a conversation.

    With `stream: true`, server-sent events: `hits`, then `token` and `citation` as they come, then
    `answer` with the whole; `error` where it fails on the way, and comments as heartbeats.
    """
    label(trace, body)
    question = _question(body, body.overrides(), service)
    if not body.stream:
        answer = await until_hangup(request, service.query.answer(question, trace))
        return _json(responses.answer_json(answer))
    events = service.query.stream(question, trace)
    first = await until_hangup(request, anext(events))  # fails here, with a status, or not at all
    return sse.response(_sse(first, events, request))


@router.post("/feedback", status_code=204, responses=PROBLEMS, tags=["questions"])
async def give_feedback(body: schemas.FeedbackRequest, service: ServiceDep) -> Response:
    """Takes what an answer was worth to whoever asked, by the answer's own id."""
    await service.observing.add_feedback(TENANT, body.answer_id, body.feedback())
    return Response(status_code=204)


@router.post(
    "/documents",
    status_code=202,
    response_model=responses.Accepted,
    responses=PROBLEMS,
    tags=["documents"],
    openapi_extra=submissions.OPENAPI,
)
async def submit_documents(
    *,
    request: Request,
    service: ServiceDep,
    queue: QueueDep,
    trace: TraceDep,
    expires_in: ExpiresIn = None,
) -> Response:
    """Takes documents, as JSON or as files; a job ingests them.

    With `expires_in`, what has not begun within that many seconds fails.
    """
    scope, accepted = await submissions.take(request, service)
    job_id = await service.ingest.accept(
        scope, accepted, trace, bulk=len(accepted) >= BULK_FROM, expires_in=expires_in
    )
    queue.wake()
    body = {
        "job_id": job_id,
        "documents": [{"id": s.document_id, "state": "pending"} for s in accepted],
    }
    return _json(body, status=202, headers={"Location": f"/v1/jobs/{job_id}"})


@router.get(
    "/documents", response_model=responses.DocumentPage, responses=PROBLEMS, tags=["documents"]
)
async def list_documents(
    *,
    service: ServiceDep,
    scope: ScopeDep,
    limit: Limit = 50,
    cursor: Cursor = None,
    uri_prefix: Id = "",
    state: State | None = None,
) -> Response:
    """Documents in the order of their ids, each listed from the moment it was accepted.

    With `uri_prefix`, those whose uri begins so: `file:///handbook/` lists a folder's. With
    `state=failed`, the dead letters, each with its error.
    """
    await service.catalog.check_exists(scope)
    records = await service.catalog.documents(
        scope, limit=limit + 1, after=_after(cursor), state=state, uri_prefix=uri_prefix
    )
    page = records[:limit]
    more = _cursor(page[-1].id) if len(records) > limit else None
    return _json({"documents": [responses.document_json(r) for r in page], "next_cursor": more})


# A caller's own id may hold slashes: ids take the rest of the path, and what is below goes first.
@router.get(
    "/documents/{document_id:path}/chunks",
    response_model=responses.ChunkPage,
    responses=PROBLEMS,
    tags=["documents"],
)
async def list_chunks(
    document_id: Id, service: ServiceDep, scope: ScopeDep, limit: Limit = 50, cursor: Place = None
) -> Response:
    """A document's chunks in the order of its text."""
    await service.catalog.document(scope, document_id)
    if cursor is not None and not _PLACE.fullmatch(cursor):
        raise InputError("The cursor is not one that this listing gave.", code="invalid_cursor")
    ids = await service.index.chunk_ids(scope, document_id)
    chunks = sorted(await service.index.fetch(scope, sorted(ids)), key=lambda c: c.position)
    start = int(cursor or 0)
    page = chunks[start : start + limit]
    more = str(start + limit) if start + limit < len(chunks) else None
    return _json({"chunks": [responses.chunk_json(c) for c in page], "next_cursor": more})


@router.get(
    "/documents/{document_id:path}/content",
    response_class=Response,
    responses={**contents.OPENAPI, **PROBLEMS},
    tags=["documents"],
)
async def get_content(
    *,
    request: Request,
    document_id: Id,
    service: ServiceDep,
    scope: ScopeDep,
    as_: Annotated[Literal["text"], Query(alias="as")],
) -> Response:
    """The text that was read from a document: `start` and `end` count its code points."""
    return await contents.response(request, await service.catalog.content(scope, document_id))


@router.get(
    "/documents/{document_id:path}",
    response_model=responses.DocumentOut,
    responses=PROBLEMS,
    tags=["documents"],
)
async def get_document(document_id: Id, service: ServiceDep, scope: ScopeDep) -> Response:
    """One document and its state."""
    return _json(responses.document_json(await service.catalog.document(scope, document_id)))


@router.delete(
    "/documents/{document_id:path}", status_code=204, responses=PROBLEMS, tags=["documents"]
)
async def delete_document(document_id: Id, service: ServiceDep, scope: ScopeDep) -> Response:
    """Removes a document from index and catalog."""
    await service.ingest.delete(scope, document_id)
    return Response(status_code=204)


@router.get("/jobs/{job_id}", response_model=responses.JobOut, responses=PROBLEMS, tags=["jobs"])
async def get_job(job_id: Id, service: ServiceDep) -> Response:
    """How far a job has come."""
    return _json(responses.job_json(await service.catalog.job(job_id)))


@router.delete("/jobs/{job_id}", response_model=responses.JobOut, responses=PROBLEMS, tags=["jobs"])
async def cancel_job(job_id: Id, service: ServiceDep) -> Response:
    """Cancels the documents of a job that have not begun; what runs is finished."""
    return _json(responses.job_json(await service.ingest.cancel(job_id)))


@router.post(
    "/jobs/{job_id}/retry",
    status_code=202,
    response_model=responses.JobOut,
    responses=PROBLEMS,
    tags=["jobs"],
)
async def retry_job(job_id: Id, service: ServiceDep, queue: QueueDep) -> Response:
    """Tries the failed documents of a job again, unless something newer is stored of them."""
    job = await service.catalog.retry(job_id)
    queue.wake()
    return _json(responses.job_json(job), status=202)


@router.get(
    "/collections",
    response_model=responses.CollectionList,
    responses=PROBLEMS,
    tags=["collections"],
)
async def list_collections(service: ServiceDep) -> Response:
    """All collections, by name."""
    records = await service.catalog.collections(TENANT)
    return _json({"collections": [responses.collection_json(r) for r in records]})


@health.get("/healthz", responses=PROBLEMS)
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@health.get("/readyz", responses=PROBLEMS)
async def readyz(request: Request, _service: ServiceDep, _queue: QueueDep) -> dict[str, str]:
    """The models are loaded and warm."""
    if failure := state_of(request).failure:
        raise failure
    return {"status": "ready"}


@health.get("/metrics", response_class=PlainTextResponse, responses=PROBLEMS)
async def get_metrics(service: ServiceDep) -> Response:
    """What Prometheus reads: this process, and what the catalog says is open, if it is there."""
    found: Backlog | None = None
    with contextlib.suppress(TimeoutError, UpstreamError, StorageError):
        async with asyncio.timeout(BACKLOG_SECONDS):
            found = await service.catalog.backlog()
    body = await asyncio.to_thread(metrics.exposition, found)
    return Response(body, media_type=metrics.CONTENT_TYPE)


async def _sse(
    first: Event, rest: AsyncGenerator[Event, None], request: Request
) -> AsyncGenerator[bytes, None]:
    try:
        async with contextlib.aclosing(rest):
            yield _event(first)
            async for event in rest:
                yield _event(event)
    except Exception as error:  # noqa: BLE001 - the status is sent: only an event can tell it now
        yield sse.event("error", amid_stream(request.scope, error))


def _event(event: Event) -> bytes:
    match event:
        case str():
            return sse.event("token", {"text": event})
        case Citation():
            return sse.event("citation", responses.citation_json(event))
        case Answer():
            return sse.event("answer", responses.answer_json(event))
        case hits:
            return sse.event("hits", {"hits": [responses.hit_json(hit) for hit in hits]})


def _question(
    body: schemas.SearchRequest | schemas.QueryRequest,
    sampling: SamplingOverrides,
    service: Service,
) -> Question:
    return to_query(
        body.conversation(),
        body,
        collection=body.collection,
        limits=service.settings.limits,
        sampling=sampling,
    )


def _json(body: object, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    # Straight from the nouns to bytes: a response model would validate what we made ourselves.
    content = to_json(body, inf_nan_mode="null")
    return Response(content, status_code=status, media_type="application/json", headers=headers)


def _cursor(after: str) -> str:
    return base64.urlsafe_b64encode(after.encode()).decode()


def _after(cursor: str | None) -> str:
    try:
        after = base64.b64decode(cursor or "", altchars=b"-_", validate=True)
    except ValueError as error:
        raise InputError(
            "The cursor is not one that this listing gave.", code="invalid_cursor"
        ) from error
    return schemas.sendable(after.decode(errors="replace"))  # a place among ids, theirs or not
