"""The responses of the endpoints for administrators."""

from __future__ import annotations

from typing import Any, Literal

from .responses import Reason, Response, Scope

Rating = Literal["up", "down"] | str
Unit = Literal["characters", "seconds", "share", "currency", "score"] | str
Verdict = Literal["better", "worse", "other", ""] | str
Failing = Literal["failure", "retrieval", "ranking", "passages", "generation"] | str
QueueKind = Literal["local", "celery"] | str
State = Literal["up", "down"] | str
Overall = Literal["ok", "degraded", "down"] | str


class Me(Response):
    """The caller. `collections` are those that the key reaches; None: all of the tenant.

    `subject` is the user, `key_id` the key; both may be empty. `authenticated` is False if the
    service asks nobody for a key. `version` is the service's.
    """

    tenant: str
    subject: str
    key_id: str
    scopes: list[Scope]
    collections: list[str] | None
    authenticated: bool
    version: str


class StoredAnswer(Response):
    """A stored answer. Words are None where none are kept, or none any more.

    `scores` are 0 to 1, of the share that is scored. `trace_url` is its page in Langfuse, if the
    trace was sent; None: traces do not go there.
    """

    id: str
    collection: str
    at: str
    question: str | None
    answer: str | None
    abstained: bool
    reason: Reason | None
    confidence: float
    scores: dict[str, float]
    rating: Rating | None
    comment: str | None
    correction: str | None
    degraded: list[str]
    seconds: float
    cost: float
    input_tokens: int
    output_tokens: int
    variant: str = "base"
    trace_id: str
    trace_url: str | None


class AnswerPage(Response):
    """Stored answers, newest first; `next_cursor` is None on the last page."""

    answers: list[StoredAnswer]
    next_cursor: str | None

    @property
    def items(self) -> list[StoredAnswer]:
        """The answers."""
        return self.answers


class DriftRow(Response):
    """A signal in both windows: its median, or the share if the unit is one.

    `answers` are those that have it, in the reference and now. `change` is the widest gap of the
    distributions, 0 to 1. `p` is None, and `says` has the cause, if it was not compared.
    """

    signal: str
    unit: Unit
    answers: tuple[int, int]
    reference: float | None
    current: float | None
    change: float | None
    p: float | None
    p_holm: float | None
    drifted: bool
    says: str


class Drift(Response):
    """A report on drift: the reference from `since` to `begins`, the present from then `until`.

    `answers` are those of the reference, and now. `unlike` are the questions that differ most from
    before; None: its words are not kept.
    """

    since: str
    begins: str
    until: str
    answers: tuple[int, int]
    alpha: float
    seed: int
    drifted: bool
    rows: list[DriftRow]
    unlike: list[str | None]


class Measured(Response):
    """The mean of a measure over `n` questions, and its 95 % confidence interval."""

    n: int
    mean: float
    low: float
    high: float


class Run(Response):
    """A run of an evaluation. `measures` are those of all questions; none until it is finished.

    `collection` is the one that was asked; None: the set's own. `version` is the code's.
    """

    name: str
    set: str
    questions: int
    created: str
    finished: str | None
    version: str
    collection: str | None
    failed: int | None
    measures: dict[str, Measured]


class RunPage(Response):
    """Runs, newest first, and the names of damaged ones."""

    runs: list[Run]
    unreadable: list[str]
    next_cursor: str | None

    @property
    def items(self) -> list[Run]:
        """The runs."""
        return self.runs


class RunDetails(Run):
    """A run with its whole summary."""

    summary: dict[str, Any]


class Interval(Response):
    """A 95 % confidence interval."""

    low: float
    high: float


class Compared(Response):
    """A measure in both runs; `interval` is of the difference, candidate minus baseline.

    `p` is None if every question has the same value in both. `verdict` is empty where the
    difference may be chance.
    """

    measure: str
    questions: int
    baseline: float
    candidate: float
    difference: float
    interval: Interval
    p: float | None
    wins: int
    ties: int
    losses: int
    verdict: Verdict


class Cause(Response):
    """The stage at which the worse outcome fell behind, and what changed there."""

    stage: Failing
    says: str


class Change(Response):
    """A question whose leading measure changed; answers and reasons are of the two runs.

    `expected` are the gold answers, of runs that have recorded them.
    """

    id: str
    question: str
    gained: float
    cause: Cause
    answers: tuple[str, str]
    reasons: tuple[str, str]
    expected: list[str]
    unanswerable: bool


class Comparison(Response):
    """A run, the candidate, compared with the baseline.

    `changes` are those of the measure `leading`, the greatest first, at most 200 of the `changed`
    ones. `settings` are those that differ.
    """

    baseline: str
    candidate: str
    set_name: str
    questions: int
    alpha: float
    settings: dict[str, tuple[str, str]]
    rows: list[Compared]
    leading: str
    changes: list[Change]
    changed: int


class ComparisonList(Response):
    """The comparison of two runs."""

    comparisons: list[Comparison]


class StageBacklog(Response):
    """Documents that wait for a stage, and that are in it."""

    pending: int
    running: int


class Workers(Response):
    """The processes that ingest: `local` is the service itself."""

    kind: QueueKind
    concurrency: int | None


class Queue(Response):
    """The queue of all tenants; `oldest_seconds` is since the oldest document was accepted."""

    backlog: dict[str, StageBacklog]
    oldest_seconds: float | None
    dead_letters: int
    to_score: int
    workers: Workers


class Fault(Response):
    """The last fault of a dependency, and its time."""

    at: str
    message: str


class Condition(Response):
    """The state of a dependency, `up` or `down`; without one that is `needed` nothing is answered.

    `milliseconds` are those of its answer. `last_error` stays when it is up again.
    """

    name: str
    needed: bool
    state: State
    milliseconds: float
    at: str
    last_error: Fault | None


class ServiceHealth(Response):
    """The state of a service, `ok`, `degraded` or `down`, and of what it depends on."""

    status: Overall
    dependencies: list[Condition]


class Tenant(Response):
    """A tenant with the numbers of what it has; `keys` are those that were not revoked."""

    name: str
    collections: int
    documents: int
    chunks: int
    open_tasks: int
    answers: int
    keys: int


class TenantPage(Response):
    """Tenants, by name; `next_cursor` is None on the last page."""

    tenants: list[Tenant]
    next_cursor: str | None

    @property
    def items(self) -> list[Tenant]:
        """The tenants."""
        return self.tenants
