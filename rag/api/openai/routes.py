"""The endpoints that OpenAI's clients call; each collection is a model."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import AfterValidator
from pydantic_core import to_json
from starlette.responses import Response

from rag.api import sse
from rag.api.bulk_texts import scores, vectors
from rag.api.checked_names import sendable
from rag.api.deps import (
    PrincipalDep,
    ServiceDep,
    StorageDep,
    TraceDep,
    needs,
    scope_in,
    visible,
    wants_fresh,
)
from rag.api.large_bodies import OffLoopRoute
from rag.api.middleware import until_hangup
from rag.api.openai import schemas as wire
from rag.api.openai.chat_request import ChatRequest
from rag.api.openai.errors import error_json
from rag.api.openai.links import address_of
from rag.api.problems import amid_stream, request_id
from rag.api.question_limits import label, to_query
from rag.api.reservations import reserve
from rag.api.responses import details_json, hit_json
from rag.build.service import Service
from rag.errors import InputError
from rag.pipeline.query import Event
from rag.types import Answer, Citation, FinishReason, Query, Retraction

ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": wire.OpenAIProblem, "description": "As OpenAI's."},
    "5XX": {"model": wire.OpenAIProblem, "description": "As OpenAI's."},
}
router = APIRouter(
    prefix="/v1",
    tags=["openai"],
    responses=ERRORS,
    route_class=OffLoopRoute,
    dependencies=[needs("ask")],
)


@router.get("/models", response_model=wire.ModelList)
async def list_models(storage: StorageDep, caller: PrincipalDep) -> Response:
    """Lists the collections by name, each as a model."""
    records = visible(
        await storage.catalog.collections.of(caller.tenant, words=caller.readers), caller
    )
    return _json({"object": "list", "data": [wire.model_json(record) for record in records]})


@router.get("/models/{model:path}", response_model=wire.ModelOut)
async def get_model(
    model: Annotated[str, AfterValidator(sendable)], storage: StorageDep, caller: PrincipalDep
) -> Response:
    """Returns one collection as a model."""
    return _json(wire.model_json(await storage.catalog.collections.get(scope_in(caller, model))))


@router.post(
    "/chat/completions", response_model=wire.ChatCompletion, responses={200: sse.DOCUMENTED}
)
async def complete_chat(
    request: Request,
    body: ChatRequest,
    service: ServiceDep,
    caller: PrincipalDep,
    trace: TraceDep,
) -> Response:
    """Returns an answer with a citation for every sentence, as annotations of the message.

    With `stream: true`, sends chunks: `plumbline.hits` is in the first, annotations are in the
    `delta` after their markers, the rest of `plumbline` is in the one with the `finish_reason`.
    With the header `Cache-Control: no-cache`, the answer is made anew.
    """
    limits = service.settings.limits
    label(trace, body.plumbline, user=body.user)
    query = to_query(
        body.conversation(),
        body.plumbline,
        scope=scope_in(caller, body.model),
        limits=limits,
        sampling=body.overrides(),
        task=body.task(),
        fresh=wants_fresh(request),
    )
    head = {
        "id": f"chatcmpl-{request_id(request)}",
        "created": int(time.time()),
        "model": body.model,
    }
    asked = _Asked(query, service.settings.server.public_url)
    await reserve(request, query, service)
    pipeline, query = await service.route(query, trace)
    if not body.stream:
        answer = await until_hangup(request, pipeline.answer(query, trace))
        return _json(_completion(head, answer, asked))
    events = pipeline.stream(query, trace)
    first = await until_hangup(request, anext(events))  # a failure here has a status
    with_usage = bool(body.stream_options and body.stream_options.include_usage)
    stream = _chunks(first, events, head, asked, with_usage=with_usage)
    return sse.response(_with_failure(stream, request))


@router.post("/embeddings", response_model=wire.EmbeddingList)
async def embed_texts(
    request: Request, body: wire.EmbeddingsRequest, service: ServiceDep, caller: PrincipalDep
) -> Response:
    """Returns the vectors of these texts, by the collection's embedder."""
    embedder = service.embedder
    if body.dimensions not in (None, embedder.dim):
        raise InputError(
            f"dimensions is {body.dimensions}, and the embedder's vectors have {embedder.dim}:"
            " leave it out."
        )
    scope = scope_in(caller, body.model)
    found = await vectors(request, service, scope, body.input, kind=body.input_type)
    as_base64 = body.encoding_format == "base64"
    return _json(
        {
            "object": "list",
            "data": wire.embeddings_json(found, as_base64=as_base64),
            "model": body.model,
            "usage": wire.tokens_json(await _count(body.input, service)),
        }
    )


@router.post("/rerank", response_model=wire.RerankResponse)
async def rerank(
    request: Request, body: wire.RerankRequest, service: ServiceDep, caller: PrincipalDep
) -> Response:
    """Ranks texts, best first, by the reranker in force; without one, by late interaction."""
    scope = scope_in(caller, body.model)
    found = await scores(request, service, scope, body.query, body.documents)
    return _json(
        {
            "id": f"rerank-{request_id(request)}",
            "model": body.model,
            "results": wire.ranked_json(found, body),
            "usage": wire.tokens_json(await _count([body.query, *body.documents], service)),
        }
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question, and what the form of its answer depends on."""

    query: Query
    public_url: str | None

    @property
    def as_json(self) -> bool:
        """True if the answer's text is JSON."""
        return self.query.sampling.schema is not None

    def address(self, citation: Citation) -> str:
        """Returns where a citation can be opened."""
        return address_of(citation, self.query.scope, public_url=self.public_url)


def _completion(head: dict[str, Any], answer: Answer, asked: _Asked) -> dict[str, Any]:
    choice = {
        "index": 0,
        "message": wire.message_json(answer, asked.address, as_json=asked.as_json),
        "logprobs": None,
        "finish_reason": _ended(answer),
    }
    return {
        **head,
        "object": "chat.completion",
        "choices": [choice],
        "usage": wire.usage_json(answer.usage),
        "plumbline": _details(answer, asked),
    }


async def _chunks(
    first: Event,
    rest: AsyncGenerator[Event, None],
    head: dict[str, Any],
    asked: _Asked,
    *,
    with_usage: bool,
) -> AsyncGenerator[bytes, None]:
    head |= {"object": "chat.completion.chunk"} | ({"usage": None} if with_usage else {})
    async with contextlib.aclosing(rest):
        yield _chunk(first, head, asked)
        async for event in rest:
            if isinstance(event, Answer) and not event.text:
                yield _delta(head, wire.content_json(event, as_json=asked.as_json))
            yield _chunk(event, head, asked)
            if isinstance(event, Answer) and with_usage:
                yield sse.data(head | {"choices": [], "usage": wire.usage_json(event.usage)})
    yield b"data: [DONE]\n\n"


def _chunk(event: Event, head: dict[str, Any], asked: _Asked) -> bytes:
    match event:
        case str():
            return _delta(head, {"content": event})
        case Citation():
            return _delta(
                head, {"annotations": [wire.annotation_json(event, asked.address(event))]}
            )
        case Retraction():
            return _delta(head | {"plumbline": {"retract": asdict(event)}}, {})
        case Answer():
            details = _details(event, asked)
            del details["hits"]  # sent with the first chunk
            return _delta(head | {"plumbline": details}, {}, _ended(event))
        case hits:
            found = {"hits": [hit_json(hit) for hit in hits]}
            return _delta(head | {"plumbline": found}, {"role": "assistant", "content": ""})


def _details(answer: Answer, asked: _Asked) -> dict[str, Any]:
    return details_json(answer) | {"task": asked.query.task.kind if asked.query.task else None}


def _ended(answer: Answer) -> FinishReason:
    return answer.finish_reason or "stop"  # without a model, answers end with a whole sentence


def _delta(
    head: dict[str, Any], delta: dict[str, Any], finish_reason: FinishReason | None = None
) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return sse.data(head | {"choices": [choice]})


async def _with_failure(
    chunks: AsyncGenerator[bytes, None], request: Request
) -> AsyncGenerator[bytes, None]:
    """Yields the chunks; a failure becomes the last one, and no `[DONE]` follows it."""
    try:
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                yield chunk
    except Exception as error:  # noqa: BLE001 - the status is sent: only a chunk can report it now
        yield sse.data(error_json(amid_stream(request.scope, error)))


async def _count(texts: list[str], service: Service) -> int:
    return sum(await asyncio.to_thread(service.embedder.count_tokens, texts))


def _json(body: object) -> Response:
    # Written directly: a response model would validate our own objects again.
    return Response(to_json(body, inf_nan_mode="null"), media_type="application/json")
