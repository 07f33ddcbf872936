"""What goes over the wire. Requests are pydantic: untrusted bytes enter here.

Responses are models too, for the OpenAPI document; they are written by `json_of` from the nouns
themselves, without a second validation.
"""

from __future__ import annotations

import re
import sys
from dataclasses import asdict
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from ingest.fetch import parse_url
from rag.api.sampling import SamplingIn
from rag.errors import ReadError
from rag.records import CollectionRecord, DocumentRecord, JobRecord
from rag.settings import COLLECTION
from rag.types import (
    Answer,
    Chunk,
    Citation,
    Condition,
    FinishReason,
    Hit,
    Message,
    MetaValue,
    Reason,
    State,
)

URI_CHARS = 4096
_FIELD = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"
_UNSTORABLE = re.compile("[\ud800-\udfff\0]")
"""Half characters, which UTF-8 cannot write, and NUL, which PostgreSQL cannot."""
_Scalar = str | bool | int | float


def _storable(text: str) -> str:
    if _UNSTORABLE.search(text):
        raise ValueError("it holds a NUL or half a character (a lone surrogate)")
    return text


def _scalars(value: Any) -> Any:
    """One sentence for what is wrong, where the union of types would give one for each type."""
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, _Scalar):
            raise ValueError("a string, number, truth value or a list of them is allowed")  # noqa: TRY004
        if isinstance(item, str):
            _storable(item)
        elif not abs(item) <= sys.float_info.max:
            raise ValueError("a number is finite and at most 1.8e308")
    return value


def _sendable(text: str) -> str:
    return _UNSTORABLE.sub("\ufffd", text)


def _has_words(text: str) -> str:
    if not text.strip():
        raise ValueError("the question is blank")
    return text


def check_last(role: str, text: str) -> None:
    """A conversation ends in a question.

    Raises:
        ValueError: in something else.
    """
    if role != "user":
        raise ValueError("the last message is not the user's")
    _has_words(text)


Text = Annotated[str, AfterValidator(_sendable)]
"""Without the characters that no model and no database can take."""
QuestionText = Annotated[Text, AfterValidator(_has_words)]
_Name = Annotated[str, AfterValidator(_storable)]
_Value = Annotated[_Scalar | list[_Scalar], BeforeValidator(_scalars)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Filter(_Request):
    """A condition on `document_id`, `title`, `uri`, `page` or a field of the documents' meta."""

    field: str = Field(pattern=_FIELD)
    op: Literal["eq", "in", "gt", "gte", "lt", "lte"]
    value: _Value

    @field_validator("value")
    @classmethod
    def _not_empty(cls, value: Any) -> Any:
        if value == []:
            raise ValueError("the list is empty: no document would fit")
        return value

    def condition(self) -> Condition:
        """As the index takes it."""
        value = tuple(self.value) if isinstance(self.value, list) else self.value
        return Condition(field=self.field.removeprefix("meta."), op=self.op, value=value)


class Retrieval(_Request):
    """How many passages, and which may be among them."""

    top_k: int = Field(10, ge=1)
    filters: list[Filter] = Field(default=[], max_length=20)


class _Asked(Retrieval):
    collection: str = Field("default", pattern=COLLECTION)


class SearchRequest(_Asked):
    """A question, and where to look."""

    query: QuestionText = Field(min_length=1, examples=["How long may a line be?"])

    def conversation(self) -> list[Message]:
        """The question, to which nothing was said before."""
        return [Message(role="user", content=self.query)]


class Turn(_Request):
    """What was said in a conversation, and by whom."""

    role: Literal["user", "assistant"]
    content: Text


class QueryRequest(_Asked, SamplingIn):
    """A question to be answered, or a conversation that ends in one.

    Either `query` or `messages`. With `stream`, the answer comes as server-sent events.
    """

    query: QuestionText | None = Field(
        None, min_length=1, examples=["How long may a line be?"], description="The question."
    )
    messages: list[Turn] | None = Field(
        None, min_length=1, description="A conversation; the last message is the question."
    )
    stream: bool = False

    @field_validator("messages")
    @classmethod
    def _ends_in_a_question(cls, value: list[Turn] | None) -> list[Turn] | None:
        if value is not None:
            check_last(value[-1].role, value[-1].content)
        return value

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.query is None) == (self.messages is None):
            raise ValueError("send either `query` or `messages`")
        return self

    def conversation(self) -> list[Message]:
        """The question, and what was said before it."""
        if self.messages is None:
            return [Message(role="user", content=self.query or "")]
        return [Message(role=turn.role, content=turn.content) for turn in self.messages]


class DocumentIn(_Request):
    """A document as JSON. Its own id is kept; without one it follows from the uri.

    Without a text, it is fetched from its uri.
    """

    id: _Name | None = Field(None, min_length=1, max_length=512)
    title: str | None = Field(None, max_length=1000)
    text: str | None = Field(None, min_length=1)
    uri: _Name | None = Field(None, min_length=1, max_length=URI_CHARS)
    meta: dict[str, _Value] = Field(default={}, max_length=64)

    @field_validator("id")
    @classmethod
    def _reachable(cls, value: str | None) -> str | None:
        if value is not None and value.endswith("/chunks"):
            raise ValueError("it ends in /chunks, which is where the chunks of a document are")
        return value

    @field_validator("meta")
    @classmethod
    def _field_names(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not re.fullmatch(_FIELD, name):
                raise ValueError(
                    f"the field name {name!r} has characters other than A-Z a-z 0-9 _ . -"
                )
        return value

    @model_validator(mode="after")
    def _can_be_had(self) -> Self:
        if self.text is None:
            if self.uri is None:
                raise ValueError("it has neither a text nor a uri to fetch it from")
            if self.title is not None or self.meta:
                raise ValueError("title and meta go with a text; what is fetched brings its own")
            try:
                parse_url(self.uri)
            except ReadError as error:
                raise ValueError(str(error)) from error
        return self


class DocumentsRequest(_Request):
    """Documents to ingest."""

    collection: str = Field("default", pattern=COLLECTION)
    documents: list[DocumentIn] = Field(min_length=1)


class AcceptedDocument(BaseModel):
    """A document, accepted."""

    id: str
    state: State


class Accepted(BaseModel):
    """A job that will ingest documents."""

    job_id: str
    documents: list[AcceptedDocument]


class HitOut(BaseModel):
    """A chunk that answers a query; `ranks` has its place (from 1) in each leg that found it."""

    chunk_id: str
    document_id: str
    score: float
    text: str
    title: str
    uri: str
    page: int | None
    start: int
    end: int
    headings: list[str]
    ranks: dict[str, int] = Field(examples=[{"dense": 1, "sparse": 3}])
    meta: dict[str, Any]


class SearchResponse(BaseModel):
    """Hits, best first. `timings` is milliseconds by stage."""

    hits: list[HitOut]
    timings: dict[str, float]
    degraded: list[str]
    trace_id: str


class CitationOut(BaseModel):
    """What a marker stands on: `quote` is characters `start` to `end` of the document's text.

    The marker is characters `marker_start` to `marker_end` of the answer.
    """

    marker: int
    marker_start: int
    marker_end: int
    document_id: str
    chunk_id: str
    title: str
    uri: str
    page: int | None
    headings: list[str]
    start: int
    end: int
    quote: str
    support: float


class AnswerDetails(SearchResponse):
    """What is said of an answer beside its text.

    `question` is what was searched for: in a conversation, the last question made to stand alone.
    Where `abstained`, `reason` says why.
    """

    question: str
    unsupported: list[int] = Field(
        description="Markers taken out of the answer: their passages do not carry what was said."
    )
    uncited: list[str] = Field(description="Sentences of the answer without a citation.")
    abstained: bool
    reason: Reason | None
    confidence: float


class QueryResponse(AnswerDetails):
    """An answer; empty where `abstained`."""

    answer: str
    citations: list[CitationOut]
    usage: dict[str, int]
    finish_reason: FinishReason | None = Field(description="Why a language model ended.")


class DocumentOut(BaseModel):
    """A document and its state; `chunks` counts what is searchable of it."""

    id: str
    uri: str
    title: str
    media_type: str
    state: State
    error: str | None
    version: str
    meta: dict[str, Any]
    chunks: int
    duplicate_of: str | None
    created_at: str
    updated_at: str


class DocumentPage(BaseModel):
    """Documents in the order of their ids."""

    documents: list[DocumentOut]
    next_cursor: str | None


class ChunkOut(BaseModel):
    """A span of a document."""

    id: str
    position: int
    text: str
    page: int | None
    start: int
    end: int
    headings: list[str]


class ChunkPage(BaseModel):
    """Chunks in the order of the text."""

    chunks: list[ChunkOut]
    next_cursor: str | None


class JobOut(BaseModel):
    """A job; `counts` its documents by state, `outcomes` the finished ones by what was done."""

    id: str
    collection: str
    state: State
    counts: dict[str, int]
    stages: dict[str, int] = Field(description="The open ones by stage: parse, embed.")
    outcomes: dict[str, int] = Field(examples=[{"stored": 12, "unchanged": 3, "duplicate": 1}])
    failures: list[dict[str, str]] = Field(description="The first: document_id, uri, error.")
    error: str | None
    per_second: float | None = Field(description="Documents that ended, since the job was made.")
    eta_seconds: float | None = Field(description="For the open ones, at that rate.")
    created_at: str
    updated_at: str


class CollectionOut(BaseModel):
    """A collection and how much is in it."""

    name: str
    embedder: str
    documents: int
    chunks: int
    created_at: str


class CollectionList(BaseModel):
    """All collections, by name."""

    collections: list[CollectionOut]


class Problem(BaseModel):
    """RFC 9457. `code` is stable; `detail` is for people."""

    type: str = Field(examples=["urn:plumbline:problem:unknown_collection"])
    title: str
    status: int
    detail: str
    code: str
    request_id: str


def hit_json(hit: Hit) -> dict[str, Any]:
    """As `HitOut`."""
    chunk = hit.chunk
    return {
        "chunk_id": chunk.id,
        "document_id": chunk.document_id,
        "score": hit.score,
        "text": chunk.text,
        "title": chunk.title,
        "uri": chunk.uri,
        "page": chunk.page,
        "start": chunk.start,
        "end": chunk.end,
        "headings": chunk.headings,
        "ranks": hit.ranks,
        "meta": chunk.meta,
    }


def citation_json(citation: Citation) -> dict[str, Any]:
    """As `CitationOut`."""
    return asdict(citation)


def details_json(answer: Answer) -> dict[str, Any]:
    """As `AnswerDetails`."""
    return {
        "question": answer.question,
        "unsupported": answer.unsupported,
        "uncited": answer.uncited,
        "abstained": answer.abstained,
        "reason": answer.reason,
        "confidence": answer.confidence,
        "hits": [hit_json(hit) for hit in answer.hits],
        "timings": answer.timings,
        "degraded": answer.degraded,
        "trace_id": answer.trace_id,
    }


def answer_json(answer: Answer) -> dict[str, Any]:
    """As `QueryResponse`."""
    return {
        "answer": answer.text,
        "citations": [citation_json(c) for c in answer.citations],
        **details_json(answer),
        "usage": asdict(answer.usage),
        "finish_reason": answer.finish_reason,
    }


def document_json(record: DocumentRecord) -> dict[str, Any]:
    """As `DocumentOut`: where the bytes lie and how they were cut is nobody's business."""
    fields = asdict(record)
    del fields["source"], fields["recipe"]
    return fields


def chunk_json(chunk: Chunk) -> dict[str, Any]:
    """As `ChunkOut`."""
    return {
        "id": chunk.id,
        "position": chunk.position,
        "text": chunk.text,
        "page": chunk.page,
        "start": chunk.start,
        "end": chunk.end,
        "headings": chunk.headings,
    }


def job_json(job: JobRecord) -> dict[str, Any]:
    """As `JobOut`, every state counted."""
    states = ("pending", "running", "succeeded", "failed", "cancelled")
    counts = {state: job.counts.get(state, 0) for state in states}
    return {**asdict(job), "counts": {"total": sum(counts.values()), **counts}}


def collection_json(record: CollectionRecord) -> dict[str, Any]:
    """As `CollectionOut`."""
    return asdict(record)


def meta_of(document: DocumentIn) -> dict[str, MetaValue]:
    """The document's meta, lists as tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in document.meta.items()}
