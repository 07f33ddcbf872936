"""The reranking of Cohere (`/v2/rerank`), and the reranking and embedding of Hugging Face's TEI.

https://docs.cohere.com/reference/rerank, https://huggingface.github.io/text-embeddings-inference
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator
from starlette.responses import Response

from rag.api import shapes
from rag.api.bulk_texts import ranked, scores, shares, vectors
from rag.api.clients.problem_forms import CohereError, TeiError, documented
from rag.api.deps import PrincipalDep, ScopeDep, ServiceDep, needs, scope_in
from rag.api.large_bodies import OffLoopRoute
from rag.api.openai.schemas import CollectionRequest
from rag.api.openai.texts import document_text, texts_of
from rag.api.problems import request_id
from rag.api.routes.common import json_response
from rag.api.schemas import Text
from rag.text.numbers import Count, Flag
from rag.text.validation_errors import FirstFaults
from rag.types import Kind

_KINDS: dict[str | None, Kind] = {"passage": "passage", "document": "passage"}
"""TEI's names of prompts, by which its models tell passages from questions."""


router = APIRouter(tags=["clients"], route_class=OffLoopRoute, dependencies=[needs("ask")])
_Ranked = Annotated[Text, BeforeValidator(document_text), WithJsonSchema(shapes.RANKED_TEXT)]


class CohereRerankRequest(CollectionRequest):
    """Texts to rank by how well they answer a query."""

    query: Text = Field(min_length=1)
    documents: Annotated[list[_Ranked], Field(min_length=1), FirstFaults()]
    top_n: Count | None = None


class CohereResult(BaseModel):
    """The index of a text in `documents`, from 0, and its score, 0 to 1."""

    index: int
    relevance_score: float


class CohereRerankResponse(BaseModel):
    """Ranked texts, best first."""

    id: str
    results: list[CohereResult]
    meta: dict[str, Any]


@router.post(
    "/v2/rerank", response_model=CohereRerankResponse, responses=documented(CohereError, "Cohere")
)
async def rerank_as_cohere(
    request: Request, body: CohereRerankRequest, service: ServiceDep, caller: PrincipalDep
) -> Response:
    """Ranks texts, best first, in the form of Cohere's second API; a model is a collection."""
    scope = scope_in(caller, body.model)
    found = shares(await scores(request, service, scope, body.query, body.documents))
    results = [
        {"index": index, "relevance_score": found[index]}
        for index in ranked(found, top_n=body.top_n)
    ]
    meta = {"api_version": {"version": "2"}}
    return json_response({"id": f"rerank-{request_id(request)}", "results": results, "meta": meta})


class _TeiRequest(BaseModel):
    # Clients send parameters of other models: unknown ones are ignored.
    model_config = ConfigDict(extra="ignore")


class TeiRerankRequest(_TeiRequest):
    """Texts to rank by how well they answer a query."""

    query: Text = Field(min_length=1)
    texts: Annotated[list[Text], Field(min_length=1), FirstFaults()]
    raw_scores: Flag | None = Field(False, description="As they are, instead of 0 to 1.")
    return_text: Flag | None = False


class TeiRank(BaseModel):
    """The index of a text in `texts`, from 0, and its score."""

    index: int
    score: float
    text: str | None = None


@router.post("/rerank", response_model=list[TeiRank], responses=documented(TeiError, "TEI"))
async def rerank_as_tei(
    request: Request, body: TeiRerankRequest, service: ServiceDep, scope: ScopeDep
) -> Response:
    """Ranks texts, best first, in TEI's form; `collection` is in the URL."""
    found = await scores(request, service, scope, body.query, body.texts)
    told = found if body.raw_scores else shares(found)
    return json_response(
        [
            {"index": index, "score": told[index]}
            | ({"text": body.texts[index]} if body.return_text else {})
            for index in ranked(found)
        ]
    )


class TeiEmbedRequest(_TeiRequest):
    """A text or several to embed; they are cut at the embedder's window."""

    inputs: Annotated[list[Text], BeforeValidator(texts_of), WithJsonSchema(shapes.INPUT)]
    prompt_name: Text | None = Field(
        None, description='"passage" or "document" for passages; others are questions.'
    )
    normalize: Flag | None = Field(
        True, description="Vectors have unit norm.", json_schema_extra={"enum": [True, None]}
    )

    @field_validator("normalize")
    @classmethod
    def _is_wanted(cls, value: bool | None) -> bool | None:
        if value is False:
            raise ValueError("vectors have unit norm; leave it out")
        return value


@router.post("/embed", response_model=list[list[float]], responses=documented(TeiError, "TEI"))
async def embed_as_tei(
    request: Request, body: TeiEmbedRequest, service: ServiceDep, scope: ScopeDep
) -> Response:
    """Returns the vectors of texts in TEI's form; `collection` is in the URL."""
    kind = _KINDS.get(body.prompt_name, "query")
    found = await vectors(request, service, scope, body.inputs, kind=kind)
    return json_response(found.tolist())
