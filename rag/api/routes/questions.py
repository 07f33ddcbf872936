"""The endpoints of questions: search and query."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import asdict

from fastapi import APIRouter, Request
from starlette.responses import Response

from rag.api import responses, schemas, sse
from rag.api.deps import (
    PrincipalDep,
    SearchingDep,
    ServiceDep,
    TraceDep,
    needs,
    scope_in,
    wants_fresh,
)
from rag.api.large_bodies import OffLoopRoute
from rag.api.middleware import until_hangup
from rag.api.problems import amid_stream
from rag.api.question_limits import label, to_query
from rag.api.reservations import reserve
from rag.api.routes.common import PROBLEMS, json_response
from rag.pipeline.query import Event
from rag.settings.operations import LimitSettings
from rag.types import Answer, Citation, Principal, Retraction, SamplingOverrides
from rag.types import Query as Question

router = APIRouter(prefix="/v1", route_class=OffLoopRoute)


@router.post(
    "/search",
    response_model=responses.SearchResponse,
    responses=PROBLEMS,
    tags=["questions"],
    dependencies=[needs("ask")],
)
async def search(
    request: Request,
    body: schemas.SearchRequest,
    searching: SearchingDep,
    caller: PrincipalDep,
    trace: TraceDep,
) -> Response:
    """Returns the chunks that answer a query, without an answer made of them."""
    label(trace, body)
    question = _question(body, SamplingOverrides(), caller, searching.settings.limits)
    result = await until_hangup(request, searching.query.search(question, trace))
    return json_response(
        {
            "hits": [responses.hit_json(hit) for hit in result.hits],
            "timings": result.timings,
            "degraded": result.degraded,
            "trace_id": trace.id,
        }
    )


@router.post(
    "/query",
    response_model=responses.QueryResponse,
    responses={200: sse.DOCUMENTED, **PROBLEMS},
    tags=["questions"],
    dependencies=[needs("ask")],
)
async def query(
    request: Request,
    body: schemas.QueryRequest,
    service: ServiceDep,
    caller: PrincipalDep,
    trace: TraceDep,
) -> Response:
    """Returns an answer with its citations, to a question or to the last one of a conversation.

    With `stream: true`, sends server-sent events: `hits`, then `token`, `citation` and `retract` as
    they come, then `answer` with the whole; `error` if it fails on the way, and comments as
    heartbeats. With the header `Cache-Control: no-cache`, the answer is made anew.
    """
    label(trace, body)
    question = _question(
        body, body.overrides(), caller, service.settings.limits, wants_fresh(request)
    )
    await reserve(request, question, service)
    pipeline, question = await service.route(question, trace)
    if not body.stream:
        answer = await until_hangup(request, pipeline.answer(question, trace))
        return json_response(responses.answer_json(answer))
    events = pipeline.stream(question, trace)
    first = await until_hangup(request, anext(events))  # a failure here has a status
    return sse.response(_sse(first, events, request))


async def _sse(
    first: Event, rest: AsyncGenerator[Event, None], request: Request
) -> AsyncGenerator[bytes, None]:
    try:
        async with contextlib.aclosing(rest):
            yield _event(first)
            async for event in rest:
                yield _event(event)
    except Exception as error:  # noqa: BLE001 - the status is sent: only an event can report it now
        yield sse.event("error", amid_stream(request.scope, error))


def _event(event: Event) -> bytes:
    match event:
        case str():
            return sse.event("token", {"text": event})
        case Citation():
            return sse.event("citation", responses.citation_json(event))
        case Retraction():
            return sse.event("retract", asdict(event))
        case Answer():
            return sse.event("answer", responses.answer_json(event))
        case hits:
            return sse.event("hits", {"hits": [responses.hit_json(hit) for hit in hits]})


def _question(
    body: schemas.SearchRequest | schemas.QueryRequest,
    sampling: SamplingOverrides,
    caller: Principal,
    limits: LimitSettings,
    fresh: bool = False,
) -> Question:
    return to_query(
        body.conversation(),
        body,
        scope=scope_in(caller, body.collection),
        limits=limits,
        sampling=sampling,
        fresh=fresh,
    )
