"""The part of Ollama's API that chat clients use: a model is a collection.

https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import to_json
from starlette.responses import Response, StreamingResponse

import rag
from rag.api.clients.problem_forms import OllamaError, documented, error_json
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
from rag.api.openai.chat_request import Conversation
from rag.api.openai.schemas import content_json
from rag.api.problems import amid_stream
from rag.api.question_limits import label, to_query
from rag.api.reservations import reserve
from rag.api.responses import answer_json
from rag.api.routes.common import json_response
from rag.api.sampling import SamplingIn
from rag.api.schemas import Retrieval
from rag.pipeline.query import Event
from rag.records import CollectionRecord
from rag.text.numbers import IS_NUMBER, Flag, Integer
from rag.types import Answer, SamplingOverrides

_LATEST = ":latest"
"""The tag that Ollama's clients add to a model's name."""
router = APIRouter(
    prefix="/api",
    tags=["clients"],
    route_class=OffLoopRoute,
    responses=documented(OllamaError, "Ollama"),
    dependencies=[needs("ask")],
)


class OllamaOptions(BaseModel):
    """Sampling parameters; others have no effect."""

    model_config = ConfigDict(extra="ignore")

    temperature: Annotated[float, Field(ge=0, le=2), IS_NUMBER] | None = None
    top_p: Annotated[float, Field(ge=0, le=1), IS_NUMBER] | None = None
    seed: Annotated[Integer, Field(ge=-(1 << 31), lt=1 << 31)] | None = None
    num_predict: Integer | None = Field(None, description="Below 1: no limit of its own.")

    def overrides(self) -> SamplingOverrides:
        """Returns the parameters in the generator's form."""
        few = self.num_predict if self.num_predict and self.num_predict > 0 else None
        given = SamplingIn(
            temperature=self.temperature, top_p=self.top_p, seed=self.seed, max_tokens=few
        )
        return given.overrides()


class OllamaChatRequest(Conversation):
    """A conversation; the user's last message is the question."""

    stream: Flag | None = True
    options: OllamaOptions | None = None
    plumbline: Retrieval = Field(Retrieval(), description="Which passages answer.")
    format: Any = Field(None, json_schema_extra={"enum": [None, ""]})
    tools: list[Any] | None = Field(None, description="None is called.")

    @field_validator("format")
    @classmethod
    def _is_empty(cls, value: Any) -> Any:
        if value not in (None, ""):
            raise ValueError("answers are text; leave it out")
        return value


class OllamaModel(BaseModel):
    """A collection."""

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: dict[str, Any]


class OllamaModels(BaseModel):
    """All collections, by name."""

    models: list[OllamaModel]


class OllamaMessage(BaseModel):
    """The answer, or a piece of it."""

    role: str
    content: str


class OllamaChat(BaseModel):
    """An answer; in a stream, each line has a piece of it, and the last line `plumbline`."""

    model: str
    created_at: str
    message: OllamaMessage
    done: bool
    done_reason: str | None = None
    plumbline: dict[str, Any] | None = Field(None, description="The answer of `/v1/query`.")


@router.get("/version")
async def ollama_version() -> dict[str, str]:
    """Returns Plumbline's version."""
    return {"version": rag.__version__}


@router.get("/tags", response_model=OllamaModels)
async def list_for_ollama(storage: StorageDep, caller: PrincipalDep) -> Response:
    """Lists the collections by name, each as a model."""
    records = visible(
        await storage.catalog.collections.of(caller.tenant, words=caller.readers), caller
    )
    return json_response({"models": [_model(record) for record in records]})


@router.post(
    "/chat", response_model=OllamaChat, responses={200: {"content": {"application/x-ndjson": {}}}}
)
async def chat_as_ollama(
    request: Request,
    body: OllamaChatRequest,
    service: ServiceDep,
    caller: PrincipalDep,
    trace: TraceDep,
) -> Response:
    """Answers a conversation in Ollama's form, as lines of JSON unless `stream` is false.

    With the header `Cache-Control: no-cache`, the answer is made anew.
    """
    label(trace, body.plumbline)
    query = to_query(
        body.conversation(),
        body.plumbline,
        scope=scope_in(caller, body.model.removesuffix(_LATEST)),
        limits=service.settings.limits,
        sampling=(body.options or OllamaOptions()).overrides(),
        task=body.task(),
        fresh=wants_fresh(request),
    )
    await reserve(request, query, service)
    started = time.perf_counter_ns()
    pipeline, query = await service.route(query, trace)
    if body.stream is False:
        answer = await until_hangup(request, pipeline.answer(query, trace))
        return json_response(_line(body.model, _text(answer)) | _end(answer, started))
    events = pipeline.stream(query, trace)
    await until_hangup(request, anext(events))  # the hits; a failure here has a status
    lines = _lines(events, body.model, started, request)
    return StreamingResponse(lines, media_type="application/x-ndjson")


async def _lines(
    events: AsyncGenerator[Event, None], model: str, started: int, request: Request
) -> AsyncGenerator[bytes, None]:
    try:
        async with contextlib.aclosing(events):
            async for event in events:
                if isinstance(event, str):
                    yield to_json(_line(model, event)) + b"\n"
                elif isinstance(event, Answer):
                    text = "" if event.text else _text(event)
                    yield to_json(_line(model, text) | _end(event, started)) + b"\n"
    except Exception as error:  # noqa: BLE001 - the status is sent: only a line can report it now
        yield to_json(error_json(request.url.path, amid_stream(request.scope, error))) + b"\n"


def _line(model: str, text: str) -> dict[str, Any]:
    return {
        "model": model,
        "created_at": datetime.now(UTC).isoformat(),
        "message": {"role": "assistant", "content": text},
        "done": False,
    }


def _end(answer: Answer, started: int) -> dict[str, Any]:
    spent = time.perf_counter_ns() - started
    return {
        "done": True,
        "done_reason": answer.finish_reason or "stop",
        "total_duration": spent,
        "prompt_eval_count": answer.usage.input_tokens,
        "eval_count": answer.usage.output_tokens,
        "plumbline": answer_json(answer),
    }


def _text(answer: Answer) -> str:
    return content_json(answer, as_json=False)["content"] or ""


def _model(record: CollectionRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "model": record.name,
        "modified_at": record.created_at,
        "size": 0,
        "digest": "",
        "details": {
            "parent_model": "",
            "format": "",
            "family": "plumbline",
            "families": ["plumbline"],
            "parameter_size": "",
            "quantization_level": "",
        },
    }
