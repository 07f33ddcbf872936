"""Batches of requests, their files and their lines. Times are in seconds since 1970."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from rag.types import Principal

BatchEndpoint = Literal["/v1/chat/completions", "/v1/query", "/v1/search", "/v1/embeddings"]
"""The paths that lines of a batch may ask."""
BatchState = Literal[
    "validating", "in_progress", "cancelling", "completed", "failed", "expired", "cancelled"
]
"""The state of a batch, in OpenAI's words."""
ENDED: tuple[BatchState, ...] = get_args(BatchState)[3:]
LineState = Literal["open", "done", "failed"]
"""The state of a line. done: the response is in the output; failed: it has an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFile:
    """A file that a caller has sent, without its content."""

    id: str
    filename: str
    bytes: int
    created_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch. `completed` and `failed` count lines, of `total`; `error` is of the whole batch."""

    id: str
    caller: Principal
    endpoint: BatchEndpoint
    metadata: Mapping[str, str] | None
    input_file_id: str
    state: BatchState = "validating"
    error: Mapping[str, Any] | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0
    created_at: float
    expires_at: float
    started_at: float | None = None
    cancelling_at: float | None = None
    ended_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLine:
    """A line of a batch's input. `line` counts from 1; `body` and `response` are JSON.

    `error` has a `code` and a `message`. A line that is no request is `failed` from the start.
    """

    line: int
    custom_id: str | None
    body: str = ""
    state: LineState = "open"
    status: int | None = None
    response: str | None = None
    error: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedLine:
    """A line that this process answers until its lease ends, and what it needs to know for that.

    `attempts` counts this one, too.
    """

    batch_id: str
    batch_created_at: float
    line: int
    token: str
    caller: Principal
    endpoint: BatchEndpoint
    body: str
    attempts: int
    claimed_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LineOutcome:
    """How a line ended. Its response has text of these documents of a collection."""

    state: LineState
    status: int | None = None
    response: str | None = None
    error: Mapping[str, str] | None = None
    collection: str = ""
    document_ids: frozenset[str] = frozenset()
