"""The endpoints of stored answers: a list of them, and their drift."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from eval.online.scorer import LOW
from rag.api import drift
from rag.api.auditing import audited
from rag.api.cursors import TimedCursor, cursor_of, iso, place_of
from rag.api.deps import PrincipalDep, ScopeDep, StorageDep, needs, scope_in, state_of
from rag.api.routes.common import PROBLEMS, json_response
from rag.build.telemetry import trace_page
from rag.catalog.answer_listing import AnswerListing, Below, Chosen
from rag.catalog.answers import Answers
from rag.records import ListedAnswer, Rating
from rag.settings.tree import COLLECTION
from rag.text.numbers import QueryFlag
from rag.types import Principal, Reason

router = APIRouter(
    prefix="/v1",
    tags=["answers"],
    responses=PROBLEMS,
    dependencies=[needs("admin"), audited("answer.read")],
)
Limit = Annotated[int, Query(ge=1, le=200)]
Collection = Annotated[str | None, Query(pattern=COLLECTION, description="None: all of them.")]
Low = Annotated[
    QueryFlag | None,
    Query(description="true: those with a score under `online.low`; false: others."),
]


class AnswerOut(BaseModel):
    """A stored answer. Words are null where none are kept, or none any more."""

    id: str
    collection: str
    at: str
    question: str | None = Field(description="As it was searched for.")
    answer: str | None
    abstained: bool
    reason: Reason | None
    confidence: float
    scores: dict[str, float] = Field(description="0 to 1, of the share that is scored.")
    rating: Rating | None
    comment: str | None
    correction: str | None
    degraded: list[str]
    seconds: float
    cost: float
    input_tokens: int
    output_tokens: int
    variant: str = Field(description="The pipeline that gave it.")
    trace_id: str
    trace_url: str | None = Field(
        description="Its page in Langfuse, if the trace was sent; null: traces do not go there."
    )


class AnswerPage(BaseModel):
    """Answers, newest first."""

    answers: list[AnswerOut]
    next_cursor: str | None


@router.get("/answers", response_model=AnswerPage)
async def list_answers(
    *,
    request: Request,
    storage: StorageDep,
    caller: PrincipalDep,
    collection: Collection = None,
    limit: Limit = 50,
    cursor: TimedCursor = None,
    abstained: QueryFlag | None = None,
    rating: Rating | None = None,
    low: Low = None,
) -> Response:
    """Lists the tenant's stored answers, newest first, with their scores and feedback."""
    if collection is not None:
        request.scope["collection"] = collection  # for the audit log
        await storage.catalog.collections.check_exists(scope_in(caller, collection))
    chosen = Chosen(
        collections=_within(caller, collection),
        abstained=abstained,
        rating=rating,
        low=low,
        below=Below(storage.settings.online.low, LOW),
    )
    found = await AnswerListing(storage.database).page(
        caller.tenant, chosen, limit=limit + 1, after=place_of(cursor)
    )
    page = found[:limit]
    more = cursor_of(page[-1].at, page[-1].id) if len(found) > limit else None
    traces = trace_page(storage.settings.traces)
    return json_response(
        {"answers": [_answer_json(each, traces) for each in page], "next_cursor": more}
    )


@router.get("/drift", response_model=drift.DriftOut)
async def get_drift(
    request: Request,
    storage: StorageDep,
    scope: ScopeDep,
    current: drift.Seconds = 86_400.0,
    reference: drift.Seconds = 604_800.0,
) -> Response:
    """Compares the answers of the last `current` seconds with those of `reference` seconds before.

    The measurements of at most 100,000 answers are compared, and 30 in each of the two windows are
    the least.
    """
    await storage.catalog.collections.check_exists(scope)
    windows = drift.Windows.until_now(current=current, reference=reference)
    async with state_of(request).analysis:
        found = await drift.report(Answers(storage.database), scope, windows)
    return json_response(found)


def _within(caller: Principal, collection: str | None) -> frozenset[str] | None:
    return caller.collections if collection is None else frozenset({collection})


def _answer_json(answer: ListedAnswer, traces: str | None) -> dict[str, Any]:
    return {
        **asdict(answer),
        "at": iso(answer.at),
        "abstained": answer.reason is not None,
        "trace_url": traces and f"{traces}{answer.trace_id}",
    }
