"""Records of answers that are kept for feedback and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rag.types import (
    BASE,
    Float32Array,
    Scope,
)

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
    `uncited`, and the refused `claims`; the passages keep their texts until the answer is scored.
    `trace` is JSON: a trace that was not sampled and is sent if the answer turns out to be bad.
    Both are masked. `read` maps the ids of the documents that the answer was made of to their
    versions. `degraded` names the stages that were left out, each with its cause. The tokens are
    those of language models. `variant` gave the answer; `rollout` and its version decided so.
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
    degraded: Sequence[str] = ()
    input_tokens: int = 0
    output_tokens: int = 0
    variant: str = BASE
    rollout: str | None = None
    rollout_version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedAnswer:
    """A stored answer as it is listed, with the fields that a `LiveAnswer` has under these names.

    `question` and `answer` are None if nothing of their text is kept.
    """

    id: str
    collection: str
    at: float
    question: str | None
    answer: str | None
    reason: str | None
    confidence: float
    scores: Mapping[str, float]
    rating: Rating | None
    comment: str | None
    correction: str | None
    degraded: Sequence[str]
    seconds: float
    cost: float
    input_tokens: int
    output_tokens: int
    trace_id: str
    variant: str = BASE


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
