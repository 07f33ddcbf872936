"""What the catalog says of documents, jobs and collections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from rag.types import Float32Array, Scope, Stage, State

ATTEMPTS = 5
"""To ingest a document; past them it has failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A document as it is accepted: who it is, and where its bytes lie.

    `source` is JSON: `{"file": …}` for a file that is read where it is, `{"spool": …}` for bytes
    that were sent, `{"url": …, "spool": …}` for bytes that are yet to be fetched. `traceparent` is
    W3C's: the span that it was accepted in.
    """

    document_id: str
    uri: str
    source: Mapping[str, Any]
    title: str = ""
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One document's journey within a job.

    `stage` is the one that it is in or waits for; `attempts` counts those that failed before. An
    `interrupted` one had begun when it was looked up: somebody works on it, or died over it. It was
    accepted at `accepted_at` (seconds since 1970), in the span of `traceparent`. Nobody waits for
    a `bulk` one.
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


class DueTask(NamedTuple):
    """What a broker is told of a task."""

    id: int
    stage: Stage
    bulk: bool
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTasks:
    """How many tasks wait in a queue, or run; seconds since the oldest was accepted."""

    stage: Stage
    bulk: bool
    state: State
    tasks: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What is open, by queue and state, and how many documents have failed for good.

    `to_score` counts the answers that wait to be scored; seconds since the oldest was given, 0
    where there is none.
    """

    groups: tuple[OpenTasks, ...]
    dead_letters: int
    to_score: int
    oldest_to_score_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRecord:
    """A document as it is listed; `chunks` counts what is searchable of it now."""

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
    created_at: str
    updated_at: str

    @property
    def cut(self) -> Cut:
        """The document as the index has it."""
        return Cut(
            version=self.version,
            duplicate_of=self.duplicate_of,
            recipe=self.recipe,
            chunks=self.chunks,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What a version of the index has of a document: which bytes, how they were cut, how many.

    `duplicate_of` names the document that stands for the same bytes; then `chunks` is 0.
    """

    version: str
    duplicate_of: str | None
    recipe: str
    chunks: int


GONE = Cut(version="", duplicate_of=None, recipe="", chunks=0)
"""Of a document of which a version of the index should have nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A switch to another version of an index: its name, its embedder, and what it has."""

    version: str
    embedder: str
    cuts: Mapping[str, Cut]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job: `counts` of its documents by state, `outcomes` of the finished ones by kind.

    `stages` counts the open ones by the stage that they are in or wait for.

    `failures` names the first failed ones: document_id, uri and error of each. `per_second` counts
    the documents that ended, since the job was made; `eta_seconds` is how long the open ones take
    at that rate. Both are None where there is nothing to reckon with.
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
    """A collection and how much is in it."""

    name: str
    embedder: str
    documents: int
    chunks: int
    created_at: str


Rating = Literal["up", "down"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What somebody said of an answer: how good, why, and what it should have been."""

    rating: Rating | None = None
    comment: str | None = None
    correction: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveAnswer:
    """An answer that was given.

    `at` is seconds since 1970; `seconds` and `cost` what it took. `spans` names the spans of its
    trace by stage. `content` is JSON, None where nothing of it may be kept: `question`, `answer`,
    `is_json`, `passages`, `citations`, `unsupported`, `uncited`; the passages have their texts
    until the answer is scored. `trace` is JSON, of one that was left out by the rate and is sent if
    the answer turns out to be bad. Both are masked. `read` has the documents that it was made of:
    the version of each, by id.
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
    """What one live answer says of how it goes.

    `at` is seconds since 1970, `seconds` what the answer took, `top_score` the best hit's (None
    without one), `cost` in the settings' currency, `scores` those of `eval.online.scorer` by name,
    0 to 1 (of a sampled share of answers), `embedding` the question's, float32[dim] of unit norm,
    `id` the answer's.
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
