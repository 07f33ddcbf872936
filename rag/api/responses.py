"""Responses: models for the OpenAPI document, and functions that write the JSON.

The JSON is written from the domain objects directly, without a second validation.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, Field

from rag.records import CollectionRecord, DocumentRecord, JobRecord
from rag.types import (
    Answer,
    CacheMatch,
    Chunk,
    Citation,
    Claim,
    ClaimOutcome,
    FinishReason,
    Hit,
    Objection,
    Reason,
    State,
    Usage,
)


class AcceptedDocument(BaseModel):
    """An accepted document."""

    id: str
    state: State


class Accepted(BaseModel):
    """A job that will ingest documents."""

    job_id: str
    documents: list[AcceptedDocument]
    notices: list[str] = Field(description="What the sender should know, such as a replacement.")


class HitOut(BaseModel):
    """A chunk that answers a query; `ranks` has its rank (from 1) in each leg that found it."""

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


class CellOut(BaseModel):
    """A cell of a table; `column` is empty if the name of its column is not known."""

    column: str
    value: str


class CitationOut(BaseModel):
    """A citation: `quote` is characters `start` to `end` of the document's text.

    The marker is characters `marker_start` to `marker_end` of the answer. If the quote is in a row
    of a table, `cells` has the filled cells of that row.
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
    cells: list[CellOut]


class UsageOut(BaseModel):
    """Tokens of language models, and their cost in the currency of the configured prices."""

    input_tokens: int
    output_tokens: int
    cost: float


class ClaimOut(BaseModel):
    """A sentence that a language model wrote, at `start` to `end` of the answer.

    One that is not shown has neither `start` nor `end`, and its text is not sent.
    """

    outcome: ClaimOutcome
    objection: Objection | None
    support: float
    start: int | None
    end: int | None


class CachedOut(BaseModel):
    """The earlier answer that is given again: its age, its id, and what was asked for it."""

    match: CacheMatch = Field(description="exact: the same question; semantic: in other words.")
    age_seconds: float
    question: str
    answer_id: str


class RouteOut(BaseModel):
    """The route by which an answer's generator was chosen, and why.

    `escalated_from` names the route that wrote the beginning, before a sentence of it was refused.
    """

    name: str
    reasons: list[str]
    escalated_from: str | None


class AnswerDetails(SearchResponse):
    """The details of an answer besides its text.

    `question` is the text that was searched for: in a conversation, the last question made to stand
    alone. If `abstained`, `reason` says why.
    """

    answer_id: str = Field(description="The answer's own: feedback names it.")
    question: str
    unsupported: list[int] = Field(
        description="Markers taken out of the answer: their passages do not carry what was said."
    )
    uncited: list[str] = Field(description="Sentences of the answer without a citation.")
    claims: list[ClaimOut] = Field(description="Sentences of a language model, as checked.")
    abstained: bool
    reason: Reason | None
    missing: list[str] = Field(
        description="If it abstained: words or identifiers of the question that no passage has."
    )
    confidence: float
    cached: CachedOut | None = Field(description="None: it was made for this question.")
    variant: str = Field(description="The pipeline that answered; `base` without a rollout.")
    route: RouteOut | None = Field(description="None if the settings have no routes.")


class QueryResponse(AnswerDetails):
    """An answer; its text is empty if `abstained`."""

    answer: str
    citations: list[CitationOut]
    usage: UsageOut
    finish_reason: FinishReason | None = Field(description="Why a language model ended.")


class DocumentOut(BaseModel):
    """A document and its state; `chunks` counts its searchable chunks."""

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
    parent: str | None = Field(description="The document that it is attached to.")
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
    """A job; `counts` has its documents by state, `outcomes` the finished ones by their result."""

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


class JobPage(BaseModel):
    """Jobs, newest first."""

    jobs: list[JobOut]
    next_cursor: str | None


class CollectionOut(BaseModel):
    """A collection and how much is in it."""

    name: str
    embedder: str
    documents: int
    chunks: int
    outdated: int = Field(description="Documents that `rag reindex` would index better.")
    reread: int = Field(description="Documents that an older reader read: ingest them again.")
    created_at: str


class CollectionList(BaseModel):
    """All collections, by name."""

    collections: list[CollectionOut]


class Problem(BaseModel):
    """A problem of RFC 9457. `code` is stable; `detail` is for people."""

    type: str = Field(examples=["urn:plumbline:problem:unknown_collection"])
    title: str
    status: int
    detail: str
    code: str
    request_id: str


def hit_json(hit: Hit) -> dict[str, Any]:
    """Returns a hit in the form of `HitOut`."""
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
    """Returns a citation in the form of `CitationOut`."""
    return asdict(citation)


def details_json(answer: Answer) -> dict[str, Any]:
    """Returns an answer's details in the form of `AnswerDetails`."""
    return {
        "answer_id": answer.id,
        "question": answer.question,
        "unsupported": answer.unsupported,
        "uncited": answer.uncited,
        "claims": [claim_json(claim) for claim in answer.claims],
        "abstained": answer.abstained,
        "reason": answer.reason,
        "missing": answer.missing,
        "confidence": answer.confidence,
        "cached": answer.cached and asdict(answer.cached),
        "route": answer.route and asdict(answer.route),
        "hits": [hit_json(hit) for hit in answer.hits],
        "timings": answer.timings,
        "degraded": answer.degraded,
        "trace_id": answer.trace_id,
        "variant": answer.variant,
    }


def claim_json(claim: Claim) -> dict[str, Any]:
    """Returns a claim in the form of `ClaimOut`."""
    return {name: getattr(claim, name) for name in ClaimOut.model_fields}


def answer_json(answer: Answer) -> dict[str, Any]:
    """Returns an answer in the form of `QueryResponse`."""
    return {
        "answer": answer.text,
        "citations": [citation_json(c) for c in answer.citations],
        **details_json(answer),
        "usage": usage_json(answer.usage),
        "finish_reason": answer.finish_reason,
    }


def usage_json(usage: Usage) -> dict[str, Any]:
    """Returns usage in the form of `UsageOut`."""
    return {name: getattr(usage, name) for name in UsageOut.model_fields}


def document_json(record: DocumentRecord) -> dict[str, Any]:
    """Returns a document as `DocumentOut`; where its bytes lie and how it was cut is internal."""
    fields = asdict(record)
    del fields["source"], fields["recipe"], fields["original"], fields["acl"]
    return fields


def chunk_json(chunk: Chunk) -> dict[str, Any]:
    """Returns a chunk in the form of `ChunkOut`."""
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
    """Returns a job in the form of `JobOut`, with a count for every state."""
    states = ("pending", "running", "succeeded", "failed", "cancelled")
    counts = {state: job.counts.get(state, 0) for state in states}
    return {**asdict(job), "counts": {"total": sum(counts.values()), **counts}}


def collection_json(record: CollectionRecord) -> dict[str, Any]:
    """Returns a collection in the form of `CollectionOut`."""
    return asdict(record)
