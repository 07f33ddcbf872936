"""Questions, and the hits that answer them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from rag.types.chunks import (
    Chunk,
    Float32Array,
    MetaValue,
    Scope,
    SparseVector,
)

ClaimPolicy = Literal["strict", "mark", "off"]
"""What becomes of an unsupported claim of a model: it is not shown, marked, or not looked for."""
Op = Literal["eq", "in", "gt", "gte", "lt", "lte"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A filter on one field; conditions are joined by AND. Ranges take numbers or ISO dates."""

    field: str
    op: Op
    value: MetaValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingOverrides:
    """The values of `Sampling` that one request sets; None keeps the value of the settings."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] | None = None
    schema: Mapping[str, object] | None = None


ChatTaskKind = Literal[
    "title",
    "tags",
    "follow_ups",
    "search_queries",
    "standalone_question",
    "autocompletion",
    "emoji",
    "image_prompt",
    "tool_calls",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatTask:
    """A task that a chat UI gives to a model besides its user's questions.

    `messages` are the whole prompt. `asked` holds the user's questions in the chat that it is
    about, oldest first. `key` names the field of the JSON object that it asks for; None: text.
    """

    kind: ChatTaskKind
    messages: tuple[Message, ...]
    asked: tuple[str, ...] = ()
    key: str | None = None


Priority = Literal["interactive", "standard", "batch"]
"""The class of a question, by which it waits where too many are under way."""
QuestionKind = Literal[
    "reason",
    "colour",
    "loudness",
    "energy",
    "temperature",
    "mass",
    "frequency",
    "money",
    "percentage",
    "duration",
    "age",
    "length",
    "extent",
    "number",
    "time",
    "person",
]
"""The kind of thing that a question asks for, by its first wh-word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A question to the service; `history` holds the earlier messages of the chat, oldest first.

    `degraded` names what was left out before, as in `Answer`.
    `sampling` is used if a language model answers, and `claims` is then the policy for what it
    claims; None: that of the settings. With a `task`, that is done instead, and nothing
    is searched for. `tags` are the caller's labels of the request. A `fresh` answer is made now,
    and comes from no cache.
    """

    text: str
    scope: Scope
    top_k: int = 10
    where: tuple[Condition, ...] = ()
    history: tuple[Message, ...] = ()
    sampling: SamplingOverrides = SamplingOverrides()
    task: ChatTask | None = None
    claims: ClaimPolicy | None = None
    fresh: bool = False
    degraded: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    priority: Priority = "standard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """A search for one ranked list; the type of its vector selects a dense or a sparse search.

    `exact` makes a dense search compare every chunk, which also finds those that a graph misses.
    """

    name: Literal["dense", "sparse"]
    vector: Float32Array | SparseVector
    limit: int
    where: tuple[Condition, ...] = ()
    exact: bool = False


class Match(NamedTuple):
    """One entry of a leg's ranked list; the chunk itself is fetched only if the entry is kept.

    It is a tuple, like `Fused`, because hundreds are created for each question.
    """

    chunk_id: str
    score: float


Source = Literal["dense", "sparse", "fused", "reranked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A chunk that answers a query; `ranks` has its place (from 1) in each leg that found it."""

    chunk: Chunk
    score: float
    source: Source
    ranks: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieved:
    """The hits of a query, best first; `degraded` as in `Answer`."""

    hits: tuple[Hit, ...]
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The result of a search without an answer; `degraded` and `timings` as in `Answer`."""

    hits: tuple[Hit, ...]
    degraded: tuple[str, ...]
    timings: Mapping[str, float]
