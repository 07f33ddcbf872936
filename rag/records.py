"""Records of the catalog: documents, tasks, jobs, collections, answers, keys and the audit log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from rag.types import (
    Float32Array,
    Permission,
    Principal,
    Readers,
    Scope,
    Stage,
    State,
    stored_acl,
)

ATTEMPTS = 5
"""Attempts to ingest a document; after the last one it has failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A document that is accepted for ingestion: its id, its uri and the place of its bytes.

    `source` is JSON: `{"file": …}` for a file that is read in place, `{"spool": …}` for bytes that
    were sent, `{"url": …, "spool": …}` for bytes that are yet to be fetched. An attachment's source
    names the `parent` that it came with. `traceparent` is the W3C header of the span in which it
    was accepted. With an `acl`, its readers are those from the moment its content is stored;
    without one, it keeps the ACL that it has.
    """

    document_id: str
    uri: str
    source: Mapping[str, Any]
    title: str = ""
    traceparent: str | None = None
    acl: Readers | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The ingestion of one document within a job.

    `stage` is the stage that it is in or waits for; `attempts` counts the failed attempts before.
    A task is `interrupted` if it was running when it was read: a process works on it, or died
    doing so. It was accepted at `accepted_at` (seconds since 1970), in the span of `traceparent`.
    No user waits for a `bulk` task. `key_id` and `subject` are those of the caller who sent it.
    """

    id: int
    job_id: str
    scope: Scope
    document_id: str
    uri: str
    source: Mapping[str, Any]
    attempts: int
    stage: Stage
    accepted_at: float
    traceparent: str | None
    interrupted: bool = False
    bulk: bool = False
    key_id: str = ""
    subject: str = ""
    acl: Readers | None = None


class DueTask(NamedTuple):
    """The data of a task that is sent to a broker."""

    id: int
    stage: Stage
    bulk: bool
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTasks:
    """Tasks that wait in a queue or run: their number, seconds since the oldest was accepted."""

    stage: Stage
    bulk: bool
    state: State
    tasks: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """Open tasks by queue and state, and the number of documents that failed for good.

    `to_score` counts the answers that wait to be scored; `oldest_to_score_seconds` is the time
    since the oldest of them was given, 0 if there is none.
    """

    groups: tuple[OpenTasks, ...]
    dead_letters: int
    to_score: int
    oldest_to_score_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRecord:
    """A document as it is listed; `chunks` is the number of its searchable chunks.

    `original` is the key of the file that it was read from, if that is kept. `parent` is the id of
    the document that it is attached to. If its `acl`
    is None, it follows the default of its collection.
    """

    id: str
    uri: str
    title: str
    media_type: str
    state: State
    error: str | None
    version: str
    recipe: str
    meta: Mapping[str, Any]
    chunks: int
    duplicate_of: str | None
    source: Mapping[str, Any]
    original: str | None
    parent: str | None
    acl: Readers | None
    created_at: str
    updated_at: str

    @property
    def words(self) -> Readers:
        """The words of its readers, as an index stores them."""
        return stored_acl(self.acl)

    @property
    def cut(self) -> Cut:
        """The document's version, recipe and chunks in the index."""
        return Cut(
            version=self.version,
            duplicate_of=self.duplicate_of,
            recipe=self.recipe,
            chunks=self.chunks,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A document in a version of the index: its bytes, how they were cut, the number of chunks.

    `duplicate_of` names the document that is indexed for the same bytes; then `chunks` is 0.
    """

    version: str
    duplicate_of: str | None
    recipe: str
    chunks: int


TERMS = "terms-2"
"""Identifies everything that decides the terms of a text; it is the last part of a recipe.

A document whose terms are of another build is found by those that both have.
"""
GONE = Cut(version="", duplicate_of=None, recipe="", chunks=0)
"""The cut of a document that a version of the index should not contain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A switch to another version of an index: its name, its embedder, its cuts by document id."""

    version: str
    embedder: str
    cuts: Mapping[str, Cut]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job: `counts` of its documents by state, `outcomes` of the finished ones by kind.

    `stages` counts the open ones by the stage that they are in or wait for.

    `failures` lists the first failed ones: document_id, uri and error of each. `per_second` is the
    rate of documents that ended since the job was created; `eta_seconds` is the time that the open
    ones take at that rate. Each is None if there is nothing to compute it from.
    """

    id: str
    collection: str
    state: State
    counts: Mapping[str, int]
    stages: Mapping[str, int]
    outcomes: Mapping[str, int]
    failures: Sequence[Mapping[str, str]]
    error: str | None
    per_second: float | None
    eta_seconds: float | None
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionRecord:
    """A collection with its numbers of documents and chunks.

    `outdated` counts the documents whose terms another build made: `rag reindex` makes them anew.
    `reread` counts those that an older reader read: ingested again, they are read anew.
    """

    name: str
    embedder: str
    documents: int
    chunks: int
    outdated: int
    reread: int
    created_at: str


Rating = Literal["up", "down"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """A user's feedback on an answer: a rating, a comment and the corrected answer."""

    rating: Rating | None = None
    comment: str | None = None
    correction: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveAnswer:
    """An answer that was given.

    `at` is seconds since 1970; `seconds` and `cost` are the time and money it took. `spans` maps
    stages of its trace to span ids, "" to that of the root. `content` is JSON, None if nothing of
    it may be kept: `question`, `answer`, `is_json`, `passages`, `citations`, `unsupported`,
    `uncited`; the passages keep their texts until the answer is scored. `trace` is JSON: a trace
    that was not sampled and is sent if the answer turns out to be bad. Both are masked. `read` maps
    the ids of the documents that the answer was made of to their versions.
    """

    id: str
    trace_id: str
    scope: Scope
    at: float
    to_score: bool
    question_chars: int
    top_score: float | None
    reason: str | None
    confidence: float
    seconds: float
    cost: float
    spans: Mapping[str, str]
    content: Mapping[str, Any] | None
    trace: Mapping[str, Any] | None
    scores: Mapping[str, float] = field(default_factory=dict)
    feedback: Feedback = Feedback()
    read: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """The measurements of one live answer.

    `at` is seconds since 1970, `seconds` the duration of the answer, `top_score` the score of the
    best hit (None without one), `cost` is in the settings' currency. `scores` are those of
    `eval.online.scorer` by name, 0 to 1 (for a sampled share of answers), `embedding` is the
    question's, float32[dim] of unit norm, and `id` is the answer's.
    """

    at: float
    question_chars: int
    top_score: float | None
    abstained: bool
    seconds: float
    cost: float
    scores: Mapping[str, float]
    embedding: Float32Array | None
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """An API key, without the key itself. Times are in seconds since 1970.

    `collections` are those that it reaches; None: all of the tenant. Until `previous_until` the key
    that was replaced by the last rotation is still accepted.
    """

    id: str
    tenant: str
    name: str
    scopes: tuple[Permission, ...]
    collections: tuple[str, ...] | None = None
    subject: str = ""
    groups: tuple[str, ...] = ()
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None
    previous_until: float | None = None

    def principal(self) -> Principal:
        """Returns the caller who sends this key."""
        return Principal(
            tenant=self.tenant,
            subject=self.subject,
            groups=frozenset(self.groups),
            scopes=frozenset(self.scopes),
            collections=None if self.collections is None else frozenset(self.collections),
            key_id=self.id,
        )


class StoredKey(NamedTuple):
    """A key as the catalog has it: with its digest, and that of the key before, if there is one."""

    record: KeyRecord
    digest: str
    previous_digest: str | None


Feature = Literal["ask", "embed", "rerank", "judge", "ingest"]
"""The kinds of work that the ledger has rows of."""
Outcome = Literal["open", "ok", "abstained", "refused", "failed", "hung_up", "interrupted"]
"""How work ended. refused: the caller's fault; hung_up: the caller did not wait for the end;
interrupted: the process died, and what the work used is not known. Work under way is open.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """A row of the ledger: what a request or a document used of one model.

    `id` is random: callers may choose the id of a request, and of its trace. `part` 0 is the
    request itself, and further parts are for further models that worked for it. `writer` is the
    process. `cached_tokens` are a part of `input_tokens`. Tokens are `estimated` if the server of a
    model did not report them. `cost` is in the currency of the prices. Times are seconds since
    1970.
    """

    id: str
    part: int = 0
    writer: str
    tenant: str
    key_id: str = ""
    subject: str = ""
    feature: Feature
    model: str = ""
    outcome: Outcome = "open"
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    estimated: bool = False
    gpu_seconds: float = 0.0
    cost: float = 0.0
    outlier: bool = False
    trace_id: str = ""
    started_at: float
    finished_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantRecord:
    """A tenant with the numbers of what it has; `keys` are those that were not revoked."""

    name: str
    collections: int
    documents: int
    chunks: int
    open_tasks: int
    answers: int
    keys: int


AuditOutcome = Literal["success", "failure", "denied"]
SERVICE = ""
"""The tenant of the audit log's rows that belong to no tenant: the service itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """An entry of the audit log: who did what to which object, with what outcome.

    `at_ms` is milliseconds since 1970, `status` the HTTP status, 0 without one. `detail` is the
    code of an error. `address` is where the request came from. Nothing of it is content.
    """

    id: str
    tenant: str
    at_ms: int
    action: str
    object: str = ""
    collection: str = ""
    outcome: AuditOutcome
    status: int = 0
    detail: str = ""
    key_id: str = ""
    subject: str = ""
    address: str = ""
    request_id: str = ""


class AuditEntry(NamedTuple):
    """A stored entry: its number in the tenant's chain, from 1, and its hash, in hex."""

    number: int
    row: AuditRow
    hash: str


class AuditHead(NamedTuple):
    """The last entry of a chain."""

    tenant: str
    number: int
    hash: str
