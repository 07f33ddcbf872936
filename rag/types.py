"""The data types that every module uses: frozen dataclasses without logic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Span = tuple[int, int]
Float32Array = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Float16Array = npt.NDArray[np.float16]
Kind = Literal["query", "passage"]
Scalar = str | int | float | bool
MetaValue = Scalar | tuple[Scalar, ...]
Meta = Mapping[str, MetaValue]
State = Literal["pending", "running", "succeeded", "failed", "cancelled", "partial"]
Stage = Literal["parse", "embed"]
"""Stages of ingestion: "parse" turns bytes into text, "embed" writes the text to the index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """A tenant and one of its collections.

    Every index call takes one. A catalog call takes one or the tenant, or says that it serves all.
    """

    tenant: str
    collection: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """A heading at character `start` of a document's text; level 1 is the outermost."""

    start: int
    level: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table in a text, one line per row; the line at `start` is the `header`."""

    start: int
    end: int
    header: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The text and structure that a reader extracted from a document's bytes.

    `version` is the sha256 of the bytes, in hex. `pages` holds the character offset at which each
    page starts (sheets and slides count as pages); it is empty if the format has no pages.
    `headings` and `tables` are in text order; only tables that have a header row are listed.
    `furniture` holds the (start, end) spans that are not body text, such as a header block or
    heading lines with their adornment, in text order and without overlap; a chunker that follows
    the structure leaves them out.
    """

    id: str
    version: str
    uri: str
    media_type: str
    title: str
    text: str
    pages: tuple[int, ...] = ()
    headings: tuple[Heading, ...] = ()
    tables: tuple[Table, ...] = ()
    furniture: tuple[tuple[int, int], ...] = ()
    meta: Meta = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A span of a document: `document.text[start:end] == text`, always.

    `headings` is the path of headings above it, outermost first. `page` counts from 1. `title`,
    `uri` and `meta` are copied from the document, so that a hit needs no second look-up.
    """

    id: str
    document_id: str
    version: str
    position: int
    text: str
    start: int
    end: int
    title: str
    uri: str
    page: int | None = None
    headings: tuple[str, ...] = ()
    meta: Meta = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseVector:
    """A bag of terms: int32[nnz] term ids, ascending, and float32[nnz] values."""

    indices: npt.NDArray[np.int32]
    values: Float32Array


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenVectors:
    """The token vectors of a text: float32[tokens, dim] with unit rows, without special tokens.

    `spans` is int32[tokens, 2]: the characters of the text that each token stands for.
    """

    vectors: Float32Array
    spans: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """The vector of a text and its token vectors, both from one forward pass.

    `dense` is float32[dim] of unit norm, `tokens` float16[tokens, dim] with unit rows, without
    special tokens.
    """

    dense: Float32Array
    tokens: Float16Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """An entry of an index: a chunk, its float32[dim] unit vector and its term counts.

    If both vectors are None, the index keeps the stored ones and rewrites the chunk alone: an
    edit earlier in the text moves a chunk's span without changing the embedded text. `tokens`, as
    in `Embedding` and never empty, is optional beside the vectors; a chunk that is replaced
    without it has no token vectors.
    """

    chunk: Chunk
    dense: Float32Array | None = None
    sparse: SparseVector | None = None
    tokens: Float16Array | None = None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A question to the service; `history` holds the earlier messages of the chat, oldest first.

    `sampling` is used if a language model answers.
    """

    text: str
    scope: Scope
    top_k: int = 10
    where: tuple[Condition, ...] = ()
    history: tuple[Message, ...] = ()
    sampling: SamplingOverrides = SamplingOverrides()


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A marker in an answer and the exact span of the document that it cites.

    `quote == document.text[start:end]`. `chunk_id` names the hit that it comes from; if hits were
    widened, the quote may lie next to that chunk. `support`, 0 to 1, says how well the quote
    supports the sentence that cites it; it is 1 if the sentence is the quote. The marker occupies
    characters `marker_start` to `marker_end` of the answer; both are set once that is written.
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
    marker_start: int = 0
    marker_end: int = 0


FinishReason = Literal["stop", "length"]
"""The reason why a model stopped: "stop" at the end of its text, "length" at `max_tokens`."""
Reason = Literal["no_documents", "no_match", "weak_evidence"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens that language models read and wrote; zero if no model is used.

    `cost` is in the currency of the settings' prices, 0 if they name none. `estimated` is True if
    a model's server did not report the tokens, or not yet, and they were counted here.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    estimated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer of the service; its `id` is 32 random hex digits, by which feedback names it.

    `question` is the text that was searched for: in a conversation, the question as it was
    rewritten to stand alone. `confidence`, 0 to 1, is the calibrated probability that the evidence
    answers it; below the threshold the answer abstains and `reason` says why. `degraded` names each
    stage that was left out, with the cause. `timings` is milliseconds by stage.

    `unsupported` holds the markers that were removed from the text because the passages they named
    do not support it; `uncited` holds the sentences of the text without a citation. Both are in
    text order. `passages` are the hits as the generator read them. `finish_reason` is None if no
    model wrote the answer. Several answers may share a `trace_id`, which callers may choose.
    """

    id: str
    question: str
    text: str
    citations: tuple[Citation, ...]
    unsupported: tuple[int, ...]
    uncited: tuple[str, ...]
    hits: tuple[Hit, ...]
    passages: tuple[Hit, ...]
    abstained: bool
    reason: Reason | None
    confidence: float
    degraded: tuple[str, ...]
    usage: Usage
    finish_reason: FinishReason | None
    timings: Mapping[str, float]
    trace_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """The input of a generator: the question and its passages, best first.

    A passage's marker in the answer is its place in `hits`, from 1. A passage may be wider than
    the chunk that was found, because it includes its neighbours.
    """

    question: str
    scope: Scope
    hits: tuple[Hit, ...]
    sampling: SamplingOverrides = SamplingOverrides()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """The parameters with which a language model continues a chat.

    `temperature` 0 always takes the most likely token. `schema` is a JSON schema that the answer
    is made to fit.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    schema: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A piece of a model's streamed text; the last one has the reason why the model stopped.

    `usage` is that of the whole text so far; if a stream is closed early, the last `usage` that
    arrived counts.
    """

    text: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None


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
    answer, the reason in `abstained`; its text is then empty. `model` names the language model
    that wrote the text; it is None if the text comes from the passages. `usage` is that of the
    stream so far. `degraded`: see `Answer`. `call` is the input of the call to the model.
    """

    text: str = ""
    model: str | None = None
    confidence: float | None = None
    abstained: Reason | None = None
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    degraded: tuple[str, ...] = ()
    call: ModelCall | None = None


REASONS: Mapping[Reason, str] = {
    "no_documents": "the collection has nothing that fits",
    "no_match": "no passage speaks of it",
    "weak_evidence": "the passages found do not carry an answer",
}
