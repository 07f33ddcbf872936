"""The search that Open WebUI sends to a web search engine of the kind `external`.

https://docs.openwebui.com/features/chat-conversations/web-search/providers/external
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from rag.api.deps import ScopeDep, SearchingDep, TraceDep, needs
from rag.api.large_bodies import OffLoopRoute
from rag.api.middleware import until_hangup
from rag.api.openai.links import address_of
from rag.api.question_limits import to_query
from rag.api.routes.common import PROBLEMS, json_response
from rag.api.schemas import QuestionText, Retrieval
from rag.text.numbers import Count
from rag.types import Message, SamplingOverrides

router = APIRouter(tags=["clients"], route_class=OffLoopRoute, dependencies=[needs("ask")])


class WebSearchRequest(BaseModel):
    """A question, and the number of results."""

    model_config = ConfigDict(extra="ignore")

    query: QuestionText
    count: Count = Field(10, json_schema_extra={"x-maximum": "limits.top_k"})


class WebSearchResult(BaseModel):
    """A passage as `snippet`; `link` leads to its document."""

    link: str
    title: str
    snippet: str


@router.post("/websearch", response_model=list[WebSearchResult], responses=PROBLEMS)
async def search_for_open_webui(
    request: Request,
    body: WebSearchRequest,
    searching: SearchingDep,
    scope: ScopeDep,
    trace: TraceDep,
) -> Response:
    """Returns the passages that answer a question as results of a web search, best first.

    `collection` is in the URL.
    """
    settings = searching.settings
    question = to_query(
        [Message(role="user", content=body.query)],
        Retrieval(top_k=body.count),
        scope=scope,
        limits=settings.limits,
        sampling=SamplingOverrides(),
    )
    found = await until_hangup(request, searching.query.search(question, trace))
    public = settings.server.public_url
    return json_response(
        [
            {
                "link": address_of(hit.chunk, scope, public_url=public),
                "title": hit.chunk.title,
                "snippet": hit.chunk.text,
            }
            for hit in found.hits
        ]
    )
