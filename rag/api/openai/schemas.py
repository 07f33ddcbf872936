"""Requests and responses of OpenAI's clients; Plumbline's own fields are under `plumbline`.

https://platform.openai.com/docs/api-reference; `/v1/rerank` follows Cohere, Jina and vLLM.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from rag.api import shapes
from rag.api.numbers import Count, Flag, Integer
from rag.api.openai.texts import document_text, text_of, texts_of
from rag.api.responses import AnswerDetails, CitationOut, citation_json
from rag.api.sampling import SamplingIn
from rag.api.schemas import Label, Retrieval, Text, up_to_question
from rag.records import CollectionRecord
from rag.text.validation_errors import FirstFaults
from rag.types import (
    REASONS,
    Answer,
    Citation,
    FinishReason,
    Float32Array,
    Kind,
    Message,
    SamplingOverrides,
    Usage,
)

_NO_FUNCTIONS = "no functions are called: answers come from the documents alone"
_ACCEPTED: dict[str, tuple[tuple[Any, ...], str]] = {
    "n": ((None, 1), "there is one answer"),
    "tools": ((None, []), _NO_FUNCTIONS),
    "functions": ((None, []), _NO_FUNCTIONS),
    "logprobs": ((None, False), "there are no probabilities of tokens"),
    "modalities": ((None, ["text"]), "answers are text"),
}
"""Parameters that change the form of an answer: the accepted values, and why others are not."""


def _one_of(name: str) -> Any:
    """Returns the field of a parameter that has one of the accepted values, or is left out."""
    accepted, _ = _ACCEPTED[name]
    return Field(None, json_schema_extra={"enum": list(accepted)})


def _is_flag(value: Any) -> bool:
    """True for a truth value: True equals 1 in Python, but not in JSON."""
    return isinstance(value, bool)


class _Request(BaseModel):
    # Clients send parameters of other servers: unknown ones are ignored, as those servers do.
    model_config = ConfigDict(extra="ignore")

    model: Text = Field(min_length=1, max_length=256, description="A collection.")


class ChatMessage(BaseModel):
    """One message of a conversation; `system` and `developer` messages are ignored."""

    model_config = ConfigDict(json_schema_extra=shapes.CHAT_TURN)

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[Text, BeforeValidator(text_of), WithJsonSchema(shapes.CHAT_TEXT)]


class StreamOptions(BaseModel):
    """With `include_usage`, the last chunk has the usage and no choices."""

    include_usage: Flag | None = None


class ChatRequest(_Request, SamplingIn):
    """A conversation; the user's last message is the question, and later messages are not read.

    Sampling parameters that are not listed here (penalties, logit_bias, …) have no effect.
    """

    messages: Annotated[list[ChatMessage], Field(min_length=1), FirstFaults()] = Field(
        json_schema_extra=shapes.CONVERSATION
    )
    stream: Flag | None = False
    stream_options: StreamOptions | None = None
    max_completion_tokens: Count | None = Field(
        None, description="The newer name of max_tokens, and before it."
    )
    user: Label | None = None
    plumbline: Retrieval = Field(Retrieval(), description="Which passages answer.")
    n: Any = _one_of("n")
    tools: Any = _one_of("tools")
    functions: Any = _one_of("functions")
    logprobs: Any = _one_of("logprobs")
    modalities: Any = _one_of("modalities")

    @field_validator(*_ACCEPTED)
    @classmethod
    def _is_accepted(cls, value: Any, info: ValidationInfo) -> Any:
        accepted, why = _ACCEPTED[info.field_name or ""]
        if not any(value == each and _is_flag(value) == _is_flag(each) for each in accepted):
            raise ValueError(f"{why}; leave it out")
        return value

    @field_validator("messages")
    @classmethod
    def _has_a_question(cls, value: list[ChatMessage]) -> list[ChatMessage]:
        up_to_question(_messages(value))
        return value

    def overrides(self) -> SamplingOverrides:
        """Returns the parameters in the generator's form."""
        given = super().overrides()
        return replace(given, max_tokens=self.max_completion_tokens or given.max_tokens)

    def conversation(self) -> list[Message]:
        """Returns the question and the messages before it; rules for answers are the pipeline's."""
        return up_to_question(_messages(self.messages))


def _messages(messages: Sequence[ChatMessage]) -> list[Message]:
    return [
        Message(role=message.role, content=message.content)
        for message in messages
        if message.role in ("user", "assistant")
    ]


class EmbeddingsRequest(_Request):
    """Texts to embed with the collection's embedder; they are cut at its window."""

    input: Annotated[list[Text], BeforeValidator(texts_of), WithJsonSchema(shapes.INPUT)]
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: Annotated[Integer | None, WithJsonSchema(shapes.DIMENSIONS)] = Field(
        None, ge=1, description="The embedder's own, or none."
    )
    input_type: Kind = Field("query", description="Whether questions or passages are embedded.")


_Ranked = Annotated[Text, BeforeValidator(document_text), WithJsonSchema(shapes.RANKED_TEXT)]


class RerankRequest(_Request):
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


class CollectionOut(BaseModel):
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
    plumbline: CollectionOut


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


class ChatCompletion(BaseModel):
    """An answer. If it abstains, the text says so and `plumbline.reason` says why."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: ChatUsage
    plumbline: AnswerDetails


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
    why = f"No answer: {REASONS[answer.reason]}." + (f" Not found: {missing}." if missing else "")
    return {"content": None, "refusal": why} if as_json else {"content": why}


def annotation_json(citation: Citation) -> dict[str, Any]:
    """Returns a citation in the form of `Annotation`."""
    return {
        "type": "url_citation",
        "url_citation": {
            "url": citation.uri,
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


def message_json(answer: Answer, *, as_json: bool) -> dict[str, Any]:
    """Returns an answer in the form of `ChatMessageOut`."""
    return {
        "role": "assistant",
        "refusal": None,
        **content_json(answer, as_json=as_json),
        "annotations": [annotation_json(citation) for citation in answer.citations],
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
    order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    results: list[dict[str, Any]] = []
    for index in order[: request.top_n]:
        ranked: dict[str, Any] = {"index": index, "relevance_score": scores[index]}
        if request.return_documents:
            ranked["document"] = {"text": request.documents[index]}
        results.append(ranked)
    return results
