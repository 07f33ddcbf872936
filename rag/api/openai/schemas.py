"""Requests and responses of OpenAI's clients; Plumbline's own fields are under `plumbline`.

https://platform.openai.com/docs/api-reference; `/v1/rerank` follows Cohere, Jina and vLLM.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from rag.api import shapes
from rag.api.bulk_texts import ranked
from rag.api.openai.history import NO_ANSWER
from rag.api.openai.texts import document_text, texts_of
from rag.api.responses import AnswerDetails, CitationOut, citation_json
from rag.api.schemas import Text
from rag.records import CollectionRecord
from rag.text.numbers import Count, Flag, Integer
from rag.text.validation_errors import FirstFaults
from rag.types import (
    REASONS,
    Answer,
    ChatTaskKind,
    Citation,
    FinishReason,
    Float32Array,
    Kind,
    Usage,
)


class CollectionRequest(BaseModel):
    """A request to a model, which is a collection."""

    # Clients send parameters of other servers: unknown ones are ignored, as those servers do.
    model_config = ConfigDict(extra="ignore")

    model: Text = Field(min_length=1, max_length=256, description="A collection.")


class EmbeddingsRequest(CollectionRequest):
    """Texts to embed with the collection's embedder; they are cut at its window."""

    input: Annotated[list[Text], BeforeValidator(texts_of), WithJsonSchema(shapes.INPUT)]
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: Annotated[Integer | None, WithJsonSchema(shapes.DIMENSIONS)] = Field(
        None, ge=1, description="The embedder's own, or none."
    )
    input_type: Kind = Field("query", description="Whether questions or passages are embedded.")


_Ranked = Annotated[Text, BeforeValidator(document_text), WithJsonSchema(shapes.RANKED_TEXT)]


class RerankRequest(CollectionRequest):
    """Texts to rank by how well they answer a query."""

    query: Text = Field(min_length=1)
    documents: Annotated[list[_Ranked], Field(min_length=1), FirstFaults()] = Field(
        description="Texts, or objects with a `text`."
    )
    top_n: Count | None = Field(None, description="How many to return; none: all.")
    return_documents: Flag | None = False


class OpenAIError(BaseModel):
    """An error. `code` is stable; `message` is for people."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIProblem(BaseModel):
    """An error in the form that OpenAI's clients read."""

    error: OpenAIError


class ModelCollection(BaseModel):
    """The embedder and the size of a collection."""

    embedder: str
    documents: int
    chunks: int


class ModelOut(BaseModel):
    """A collection and the pipeline that answers from it."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    plumbline: ModelCollection


class ModelList(BaseModel):
    """All models, by name."""

    object: Literal["list"]
    data: list[ModelOut]


class UrlCitation(BaseModel):
    """A document and the position of its marker: characters `start_index` to `end_index`."""

    url: str
    title: str
    start_index: int
    end_index: int


class Annotation(BaseModel):
    """A citation in OpenAI's form and in Plumbline's."""

    type: Literal["url_citation"]
    url_citation: UrlCitation
    plumbline: CitationOut


class ChatMessageOut(BaseModel):
    """The message with the answer."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None = Field(description="Why it abstained, where JSON was asked for.")
    annotations: list[Annotation]


class Choice(BaseModel):
    """The only choice."""

    index: int
    message: ChatMessageOut
    logprobs: None
    finish_reason: FinishReason


class ChatUsage(BaseModel):
    """Tokens of the language model; 0 if there is none."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatDetails(AnswerDetails):
    """The details of an answer; `task` is the kind of a chat UI's task that was done instead."""

    task: ChatTaskKind | None


class ChatCompletion(BaseModel):
    """An answer. If it abstains, the text says so and `plumbline.reason` says why."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: ChatUsage
    plumbline: ChatDetails


class Embedding(BaseModel):
    """A vector of unit norm: numbers, or float32 little-endian in base64."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class TextUsage(BaseModel):
    """Tokens of all texts, by the embedder's tokenizer; those past its window count too."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(BaseModel):
    """Vectors in the order of the texts."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: TextUsage


class RankedDocument(BaseModel):
    """The text, unchanged."""

    text: str


class Ranked(BaseModel):
    """The index of a text in `documents`, from 0, and its score."""

    index: int
    relevance_score: float
    document: RankedDocument | None = None


class RerankResponse(BaseModel):
    """Ranked texts, best first."""

    id: str
    model: str
    results: list[Ranked]
    usage: TextUsage


def model_json(record: CollectionRecord) -> dict[str, Any]:
    """Returns a collection in the form of `ModelOut`."""
    return {
        "id": record.name,
        "object": "model",
        "created": int(datetime.fromisoformat(record.created_at).timestamp()),
        "owned_by": "plumbline",
        "plumbline": {
            "embedder": record.embedder,
            "documents": record.documents,
            "chunks": record.chunks,
        },
    }


def content_json(answer: Answer, *, as_json: bool) -> dict[str, str | None]:
    """Returns the text; if the answer abstained without one, a sentence that says why.

    If JSON was requested, that sentence is the `refusal`, and there is no content to parse.
    """
    if answer.text or not answer.reason:
        return {"content": answer.text}
    missing = ", ".join(f"“{word}”" for word in answer.missing)
    why = f"{NO_ANSWER}{REASONS[answer.reason]}." + (f" Not found: {missing}." if missing else "")
    return {"content": None, "refusal": why} if as_json else {"content": why}


def annotation_json(citation: Citation, url: str) -> dict[str, Any]:
    """Returns a citation in the form of `Annotation`; it can be opened at `url`."""
    return {
        "type": "url_citation",
        "url_citation": {
            "url": url,
            "title": citation.title,
            "start_index": citation.marker_start,
            "end_index": citation.marker_end,
        },
        "plumbline": citation_json(citation),
    }


def usage_json(usage: Usage) -> dict[str, int]:
    """Returns usage in the form of `ChatUsage`."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def tokens_json(tokens: int) -> dict[str, int]:
    """Returns a number of tokens in the form of `TextUsage`."""
    return {"prompt_tokens": tokens, "total_tokens": tokens}


def message_json(
    answer: Answer, address: Callable[[Citation], str], *, as_json: bool
) -> dict[str, Any]:
    """Returns an answer in the form of `ChatMessageOut`; `address` is where to open a citation."""
    return {
        "role": "assistant",
        "refusal": None,
        **content_json(answer, as_json=as_json),
        "annotations": [annotation_json(each, address(each)) for each in answer.citations],
    }


def embeddings_json(vectors: Float32Array, *, as_base64: bool) -> list[dict[str, Any]]:
    """Returns vectors in the form of `Embedding`s."""
    rows: Iterable[str | list[float]] = (
        (base64.b64encode(row.tobytes()).decode() for row in vectors.astype(np.dtype("<f4")))
        if as_base64
        else vectors.tolist()
    )
    return [
        {"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)
    ]


def ranked_json(scores: Sequence[float], request: RerankRequest) -> list[dict[str, Any]]:
    """Returns ranked texts in the form of `Ranked`s: best first, ties by index."""
    results: list[dict[str, Any]] = []
    for index in ranked(scores, top_n=request.top_n):
        result: dict[str, Any] = {"index": index, "relevance_score": scores[index]}
        if request.return_documents:
            result["document"] = {"text": request.documents[index]}
        results.append(result)
    return results
