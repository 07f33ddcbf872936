"""What goes back over the wire: models for the OpenAPI document, and what writes them.

They are written from the nouns themselves, without a second validation.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, Field

from rag.records import CollectionRecord, DocumentRecord, JobRecord
from rag.types import (
    Answer,
    Chunk,
    Citation,
    FinishReason,
    Hit,
    Reason,
    State,
    Usage,
)


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


class UsageOut(BaseModel):
    """Tokens through language models, and what they cost in the currency of the prices set."""

    input_tokens: int
    output_tokens: int
    cost: float


class AnswerDetails(SearchResponse):
    """What is said of an answer beside its text.

    `question` is what was searched for: in a conversation, the last question made to stand alone.
    Where `abstained`, `reason` says why.
    """

    answer_id: str = Field(description="The answer's own: feedback names it.")
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
    usage: UsageOut
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
        "answer_id": answer.id,
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
        "usage": usage_json(answer.usage),
        "finish_reason": answer.finish_reason,
    }


def usage_json(usage: Usage) -> dict[str, Any]:
    """As `UsageOut`."""
    fields = asdict(usage)
    del fields["estimated"]  # told in traces
    return fields


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
