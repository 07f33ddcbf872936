"""The responses of the API. The names and types of their fields are those of `/openapi.json`.

A newer server may send fields that are not here, which stay in `model_extra`, and new words where
a field has one of a few: each such field may also hold any other text.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

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
CacheMatch = Literal["exact", "semantic"] | str
RefusalKind = Literal["token", "subject"] | str
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


class Cached(Response):
    """The earlier answer that is given again: its age, its id, and what was asked for it."""

    match: CacheMatch
    age_seconds: float
    question: str
    answer_id: str


class Route(Response):
    """The route by which an answer's generator was chosen, and why.

    `escalated_from` names the route that wrote the beginning, before a sentence of it was refused.
    """

    name: str
    reasons: list[str]
    escalated_from: str | None


class Answer(SearchResult):
    """An answer; its text is empty if `abstained`, and `reason` then says why.

    `question` is the text that was searched for. Feedback names an answer by its `answer_id`.
    `unsupported` has the markers taken out of the answer, `uncited` its sentences without a
    citation. `missing` has the words of the question that no passage has. `variant` names the
    pipeline that answered. `cached` is None if the answer was made for this question.
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
    cached: Cached | None
    variant: str = "base"
    route: Route | None = None
    usage: Usage
    finish_reason: FinishReason | None


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


class Refusal(Response):
    """A refused token, or a subject whose tokens from before `refused_at` are refused."""

    tenant: str
    kind: RefusalKind
    value: str
    refused_at: str
    expires_at: str


class RefusalList(Response):
    """The refusals of a tenant, oldest first."""

    refused: list[Refusal]


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
