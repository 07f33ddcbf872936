"""The search of Dify's External Knowledge API.

https://docs.dify.ai/en/use-dify/knowledge/external-knowledge-api
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from starlette.responses import Response

from rag.api import shapes
from rag.api.bulk_texts import scores, shares
from rag.api.clients.problem_forms import DifyError, documented
from rag.api.deps import PrincipalDep, SearchingDep, TraceDep, needs, scope_in
from rag.api.large_bodies import OffLoopRoute
from rag.api.middleware import until_hangup
from rag.api.question_limits import to_query
from rag.api.routes.common import json_response
from rag.api.schemas import FIELD_NAME, Filter, QuestionText, Retrieval, Text
from rag.text.numbers import IS_NUMBER, Count
from rag.text.validation_errors import FirstFaults
from rag.types import Hit, Message, Op, SamplingOverrides

router = APIRouter(tags=["clients"], route_class=OffLoopRoute, dependencies=[needs("ask")])
_OPS: dict[str, Op] = {
    "is": "eq",
    "=": "eq",
    "in": "in",
    ">": "gt",
    "<": "lt",
    "\u2265": "gte",
    "\u2264": "lte",
    "after": "gt",
    "before": "lt",
}
"""Dify's operators that filters have."""


_Name = Annotated[str, Field(pattern=FIELD_NAME)]


class _DifyPart(BaseModel):
    model_config = ConfigDict(extra="ignore")


class RetrievalSetting(_DifyPart):
    """How many records, and from which score on."""

    top_k: Count = Field(10, json_schema_extra={"x-maximum": "limits.top_k"})
    score_threshold: Annotated[float, Field(ge=0, le=1), IS_NUMBER] | None = 0.0


class DifyCondition(_DifyPart):
    """A condition on one field of the documents' meta."""

    model_config = ConfigDict(json_schema_extra=shapes.DIFY_CONDITION)

    name: _Name | Annotated[list[_Name], Field(min_length=1, max_length=1)]
    comparison_operator: Literal["is", "=", "in", ">", "<", "\u2265", "\u2264", "after", "before"]
    value: Any

    def filter(self) -> Filter:
        """Returns the condition in the form of `/v1/search`."""
        name = self.name if isinstance(self.name, str) else self.name[0]
        return Filter(field=name, op=_OPS[self.comparison_operator], value=self.value)


class MetadataCondition(_DifyPart):
    """Conditions that must all hold."""

    logical_operator: Literal["and"] | None = "and"
    conditions: Annotated[list[DifyCondition], Field(max_length=20), FirstFaults()] | None = None


class DifyRequest(_DifyPart):
    """A question to a collection, which is the knowledge."""

    knowledge_id: Text = Field(min_length=1, max_length=256, description="A collection.")
    query: QuestionText
    retrieval_setting: RetrievalSetting = RetrievalSetting()
    metadata_condition: MetadataCondition | None = None

    @field_validator("metadata_condition")
    @classmethod
    def _are_filters(cls, value: MetadataCondition | None) -> MetadataCondition | None:
        try:
            Retrieval(filters=_filters(value))
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
        return value

    def retrieval(self) -> Retrieval:
        """Returns what is to be found in the form of `/v1/search`."""
        setting = self.retrieval_setting
        return Retrieval(top_k=setting.top_k, filters=_filters(self.metadata_condition))


def _filters(condition: MetadataCondition | None) -> list[Filter]:
    conditions = condition.conditions if condition else None
    return [each.filter() for each in conditions or ()]


class DifyRecord(BaseModel):
    """A passage that was found."""

    content: str
    score: float
    title: str
    metadata: dict[str, Any]


class DifyResponse(BaseModel):
    """The passages, best first."""

    records: list[DifyRecord]


@router.post("/retrieval", response_model=DifyResponse, responses=documented(DifyError, "Dify"))
async def retrieve_for_dify(
    request: Request,
    body: DifyRequest,
    searching: SearchingDep,
    caller: PrincipalDep,
    trace: TraceDep,
) -> Response:
    """Returns the passages that answer a question, as an external knowledge base of Dify."""
    question = to_query(
        [Message(role="user", content=body.query)],
        body.retrieval(),
        scope=scope_in(caller, body.knowledge_id),
        limits=searching.settings.limits,
        sampling=SamplingOverrides(),
    )
    found = await until_hangup(request, searching.query.search(question, trace))
    least = body.retrieval_setting.score_threshold or 0.0
    texts = [hit.chunk.text for hit in found.hits]  # a hit's own score is made of ranks
    told = await scores(request, searching, question.scope, body.query, texts) if texts else ()
    scored = zip(found.hits, shares(told), strict=True)
    records = [_record(hit, score) for hit, score in scored if score >= least]
    return json_response({"records": records})


def _record(hit: Hit, score: float) -> dict[str, Any]:
    chunk = hit.chunk
    own = {
        "document_id": chunk.document_id,
        "chunk_id": chunk.id,
        "path": chunk.uri,
        "page": chunk.page,
        "start": chunk.start,
        "end": chunk.end,
        "headings": list(chunk.headings),
    }
    return {
        "content": chunk.text,
        "score": score,
        "title": chunk.title,
        "metadata": dict(chunk.meta) | own,
    }
