"""The responses of the API. The names and types of their fields are those of `/openapi.json`.

A newer server may send fields that are not here, which stay in `model_extra`, and new words where
a field has one of a few: each such field may also hold any other text.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

State = (
    Literal["pending", "running", "succeeded", "failed", "cancelled", "skipped", "partial"] | str
)
Reason = (
    Literal[
        "no_question",
        "no_documents",
        "no_match",
        "unknown_identifier",
        "weak_evidence",
        "declined",
        "unsupported",
    ]
    | str
)
ClaimOutcome = Literal["supported", "marked", "rewritten", "replaced", "removed"] | str
Objection = Literal["figure", "name", "support"] | str
FinishReason = Literal["stop", "length"] | str
Scope = Literal["ask", "read", "write", "admin", "metrics"] | str


class Response(BaseModel):
    """Base class of all responses."""

    # A model is built when it is first used: a command uses a few of them.
    model_config = ConfigDict(extra="allow", frozen=True, defer_build=True)


class Hit(Response):
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
    ranks: dict[str, int]
    meta: dict[str, Any]


class SearchResult(Response):
    """Hits, best first. `timings` is milliseconds by stage."""

    hits: list[Hit]
    timings: dict[str, float]
    degraded: list[str]
    trace_id: str


class Cell(Response):
    """A cell of a table; `column` is empty if the name of its column is not known."""

    column: str
    value: str


class Citation(Response):
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
    cells: list[Cell]


class Usage(Response):
    """Tokens of language models, and their cost in the currency of the configured prices."""

    input_tokens: int
    output_tokens: int
    cost: float


class Claim(Response):
    """A sentence that a language model wrote, at `start` to `end` of the answer.

    One that is not shown has neither.
    """

    outcome: ClaimOutcome
    objection: Objection | None
    support: float
    start: int | None
    end: int | None


class Answer(SearchResult):
    """An answer; its text is empty if `abstained`, and `reason` then says why.

    `question` is the text that was searched for. Feedback names an answer by its `answer_id`.
    `unsupported` has the markers taken out of the answer, `uncited` its sentences without a
    citation. `missing` has the words of the question that no passage has.
    """

    answer: str
    citations: list[Citation]
    answer_id: str
    question: str
    unsupported: list[int]
    uncited: list[str]
    claims: list[Claim]
    abstained: bool
    reason: Reason | None
    missing: list[str]
    confidence: float
    usage: Usage
    finish_reason: FinishReason | None


class AcceptedDocument(Response):
    """An accepted document."""

    id: str
    state: State


class Accepted(Response):
    """A job that will ingest documents. `notices` has what the sender should know."""

    job_id: str
    documents: list[AcceptedDocument]
    notices: list[str]


class Job(Response):
    """A job.

    `counts` has its documents by state and their `total`, `stages` the open ones by stage,
    `outcomes` the finished ones by their result, `failures` the first of the failed: document_id,
    uri, error. `per_second` is the documents that ended, since the job was made, and `eta_seconds`
    the time for the open ones at that rate.
    """

    id: str
    collection: str
    state: State
    counts: dict[str, int]
    stages: dict[str, int]
    outcomes: dict[str, int]
    failures: list[dict[str, str]]
    error: str | None
    per_second: float | None
    eta_seconds: float | None
    created_at: str
    updated_at: str

    @property
    def ended(self) -> bool:
        """True once no document of the job is waiting or being read."""
        return self.state not in ("pending", "running")


class JobPage(Response):
    """Jobs, newest first; `next_cursor` is None on the last page."""

    jobs: list[Job]
    next_cursor: str | None

    @property
    def items(self) -> list[Job]:
        """The jobs."""
        return self.jobs


class Document(Response):
    """A document and its state; `chunks` counts its searchable chunks.

    `parent` is the document that it is attached to.
    """

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
    parent: str | None
    created_at: str
    updated_at: str


class DocumentPage(Response):
    """Documents in the order of their ids; `next_cursor` is None on the last page."""

    documents: list[Document]
    next_cursor: str | None

    @property
    def items(self) -> list[Document]:
        """The documents."""
        return self.documents


class Chunk(Response):
    """A span of a document."""

    id: str
    position: int
    text: str
    page: int | None
    start: int
    end: int
    headings: list[str]


class ChunkPage(Response):
    """Chunks in the order of the text; `next_cursor` is None on the last page."""

    chunks: list[Chunk]
    next_cursor: str | None

    @property
    def items(self) -> list[Chunk]:
        """The chunks."""
        return self.chunks


class Acl(Response):
    """The callers who may read a document; `inherited` if it is the default of the collection."""

    users: list[str]
    groups: list[str]
    public: bool
    inherited: bool


class Collection(Response):
    """A collection and how much is in it.

    `rag reindex` would index the `outdated` documents better. An older reader read those in
    `reread`: ingest them again.
    """

    name: str
    embedder: str
    documents: int
    chunks: int
    outdated: int
    reread: int
    created_at: str


class CollectionList(Response):
    """All collections, by name."""

    collections: list[Collection]


class Key(Response):
    """A key, without the key itself. `id` is its second part: `pl_ID_…`.

    `last_used_at` is to the minute. Until `previous_until` the key before the last rotation is
    accepted, too.
    """

    id: str
    name: str
    tenant: str
    scopes: list[Scope]
    collections: list[str] | None
    subject: str
    groups: list[str]
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None
    previous_until: str | None


class NewKey(Key):
    """A new key: it is shown only here."""

    key: str


class KeyList(Response):
    """The keys of a tenant, oldest first."""

    keys: list[Key]


class UsageSum(Response):
    """Sums of a group; the names that it was not grouped by are left out.

    `requests` are those that began in the period. The tokens of `interrupted` ones are not known.
    Those of `estimated` ones were counted by the service.
    """

    tenant: str | None = None
    key: str | None = None
    subject: str | None = None
    model: str | None = None
    feature: str | None = None
    outcome: str | None = None
    day: str | None = None
    requests: int
    interrupted: int
    estimated: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    gpu_seconds: float
    cost: float


class Outlier(Response):
    """A request that cost many times what is usual for its tenant."""

    tenant: str
    key_id: str
    subject: str
    feature: str
    model: str
    outcome: str
    trace_id: str
    input_tokens: int
    output_tokens: int
    cost: float
    started_at: str


class UsageReport(Response):
    """The use from `since` to `until`; groups are the most expensive first."""

    since: str
    until: str
    groups: list[UsageSum]
    total: UsageSum | None
    outliers: list[Outlier]


class Health(Response):
    """The state of the process: `ok`, or `ready` once the models are loaded."""

    status: str
