"""Answers, and the messages between a pipeline and a language model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rag.types.chunks import (
    Scope,
)
from rag.types.queries import (
    Hit,
    Message,
    SamplingOverrides,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of a table: its value, and the name of its column, empty if that is not known."""

    column: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A marker in an answer and the exact span of the document that it cites.

    `quote == document.text[start:end]`. `chunk_id` names the hit that it comes from; if hits were
    widened, the quote may lie next to that chunk. `support`, 0 to 1, says how well the quote
    supports the sentence that cites it; it is 1 if the sentence is the quote. The marker occupies
    characters `marker_start` to `marker_end` of the answer; both are set once that is written.
    `cells` are those of the quote if it is a row of a table.
    """

    marker: int
    chunk_id: str
    document_id: str
    uri: str
    title: str
    page: int | None
    headings: tuple[str, ...]
    start: int
    end: int
    quote: str
    support: float
    cells: tuple[Cell, ...] = ()
    marker_start: int = 0
    marker_end: int = 0


BASE = "base"
"""The name of the pipeline of the settings, without a variant."""
FinishReason = Literal["stop", "length"]
"""The reason why a model stopped: "stop" at the end of its text, "length" at `max_tokens`."""
Reason = Literal[
    "no_question",
    "no_documents",
    "no_match",
    "unknown_identifier",
    "weak_evidence",
    "declined",
    "unsupported",
]
ClaimOutcome = Literal["supported", "marked", "rewritten", "replaced", "removed"]
Objection = Literal["figure", "name", "support"]
"""The reason why a claim is refused: a figure or a name that no passage has, or low support."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A sentence that a language model wrote, and what became of it.

    A claim that is "supported" or "marked" is characters `start` to `end` of the answer. One that
    is "rewritten", "replaced" by sentences of the documents or "removed" is not shown: both are
    None. `missing` has the figures or names that no passage has. `support`, 0 to 1, is that of the
    passage that supports it best.
    """

    text: str
    outcome: ClaimOutcome
    support: float
    objection: Objection | None = None
    missing: tuple[str, ...] = ()
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retraction:
    """Characters `start` to `end` of an answer, sent before, that the passages do not support."""

    start: int
    end: int
    objection: Objection


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """The second try at an answer: the text that stays, and the claim that does not."""

    kept: str
    refused: Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The route by which an answer's generator was chosen, and the reasons for it.

    `escalated_from` names the route whose generator wrote the beginning, before the check refused a
    sentence of it.
    """

    name: str
    reasons: tuple[str, ...]
    escalated_from: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens that language models read and wrote; zero if no model is used.

    `cost` is in the currency of the settings' prices, 0 if they name none. `estimated` is True if
    a model's server did not report the tokens, or not yet, and they were counted here.
    `cached_tokens` are those of `input_tokens` that the server had in a cache. `gpu_seconds` are
    computed from the throughput in the settings, 0 if they name none.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    estimated: bool = False
    cached_tokens: int = 0
    gpu_seconds: float = 0.0


def add_usage(first: Usage, second: Usage) -> Usage:
    """Returns the sum of two usages; it is estimated if one of them is."""
    return Usage(
        input_tokens=first.input_tokens + second.input_tokens,
        output_tokens=first.output_tokens + second.output_tokens,
        cost=first.cost + second.cost,
        estimated=first.estimated or second.estimated,
        cached_tokens=first.cached_tokens + second.cached_tokens,
        gpu_seconds=first.gpu_seconds + second.gpu_seconds,
    )


CacheMatch = Literal["exact", "semantic"]
"""exact: the same question was asked before; semantic: one that asks the same in other words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cached:
    """The earlier answer that an answer repeats: its age, its id, and what was asked for it."""

    match: CacheMatch
    age_seconds: float
    question: str
    answer_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer of the service; its `id` is 32 random hex digits, by which feedback names it.

    `question` is the text that was searched for: in a conversation, the question as it was
    rewritten to stand alone. `confidence`, 0 to 1, is the calibrated probability that the text
    answers it; below the threshold the answer abstains, `reason` says why, and `missing` lists the
    words or identifiers of the question that no passage has. `degraded` names each stage that was
    left out, with the cause. `timings` is milliseconds by stage.

    `unsupported` holds the markers that were removed from the text because the passages they named
    do not support it; `uncited` holds the sentences of the text without a citation. Both are in
    text order. `claims` are the sentences that a model wrote, as far as they were checked, in the
    order they were written. `passages` are the hits as the generator read them. `finish_reason` is
    None if no model wrote the answer, `route` if the settings have no routes, `cached` if the
    answer was made for this question. Several answers may share a `trace_id`, which callers may
    choose. `variant` names the pipeline that answered.
    """

    id: str
    question: str
    text: str
    citations: tuple[Citation, ...]
    unsupported: tuple[int, ...]
    uncited: tuple[str, ...]
    claims: tuple[Claim, ...]
    hits: tuple[Hit, ...]
    passages: tuple[Hit, ...]
    abstained: bool
    reason: Reason | None
    missing: tuple[str, ...]
    confidence: float
    degraded: tuple[str, ...]
    usage: Usage
    finish_reason: FinishReason | None
    timings: Mapping[str, float]
    trace_id: str
    cached: Cached | None = None
    variant: str = BASE
    route: Route | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """The input of a generator: the question and its passages, best first.

    `question` is empty if the user's message asks nothing. `message` is the whole message that a
    language model reads; if it is empty, that is the question.

    A passage's marker in the answer is its place in `hits`, from 1. A passage may be wider than
    the chunk that was found, because it includes its neighbours. `tags` are the request's. With a
    `revision`, the rest of the answer is to be written, after the text that it keeps.
    """

    question: str
    scope: Scope
    hits: tuple[Hit, ...]
    message: str = ""
    sampling: SamplingOverrides = field(default_factory=SamplingOverrides)
    tags: tuple[str, ...] = ()
    revision: Revision | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """The parameters with which a language model continues a chat.

    `temperature` 0 always takes the most likely token. `schema` is a JSON schema that the answer
    is made to fit. `adapter` names the LoRA adapter to write with, one of those that the model has;
    None: the model's own weights, or the adapter that it has for all answers.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    schema: Mapping[str, object] | None = None
    adapter: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A piece of a model's streamed text; the last one has the reason why the model stopped.

    `usage` is that of the whole text so far; if a stream is closed early, the last `usage` that
    arrived counts. `degraded` says what the model could not do as usual, as in `Answer`.
    """

    text: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """The input of a call to a language model: messages, prompt template and sampling."""

    messages: tuple[Message, ...]
    template: str
    sampling: Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A piece of an answer as it is generated.

    The last one of a stream has `confidence` (see `Answer`) and, if the generator declines to
    answer, the reason in `abstained`, and in `missing` the words of the question that no passage
    has; its text is then empty. `model` names the language model that wrote the text; it is None if
    the text comes from the passages. `usage` is that of the stream so far. `degraded`, `route`: see
    `Answer`. `call` is the input of the call to the model.
    """

    text: str = ""
    model: str | None = None
    confidence: float | None = None
    abstained: Reason | None = None
    missing: tuple[str, ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    degraded: tuple[str, ...] = ()
    call: ModelCall | None = None
    route: Route | None = None


REASONS: Mapping[Reason, str] = {
    "no_question": "the message asks nothing of the documents",
    "no_documents": "the collection has nothing that fits",
    "no_match": "no passage speaks of it",
    "unknown_identifier": "no passage has what the question names",
    "weak_evidence": "the passages found do not carry an answer",
    "declined": "the model found no answer in the passages",
    "unsupported": "the passages do not support the answer that the model wrote",
}
