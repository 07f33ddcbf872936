"""The nouns. Frozen, without logic; every other module speaks in them."""

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
"""Of a document's journey: bytes to text, text to index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Whose data, and which of it. Every index and catalog call takes one."""

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
    """A table in a text: one line a row; the line at `start` is the `header`."""

    start: int
    end: int
    header: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a reader made of some bytes.

    `version` is the sha256 of the bytes, in hex. `pages` holds the character offset at which each
    page starts (a sheet and a slide are pages, too); it is empty where the format has no pages.
    `headings` and `tables` are in text order; only tables that have a header row are listed.
    `furniture` holds the (start, end) spans that are no body text: a header block, heading lines
    with their adornment. In text order, without overlap; a chunker that heeds structure leaves
    them out.
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

    `headings` is the path of headings above it, outermost first. `page` counts from 1. Title, uri
    and meta are the document's, carried here so that a hit needs no second look-up.
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
    """One text, token by token: float32[tokens, dim] unit rows, special tokens left out.

    `spans` is int32[tokens, 2]: the characters of the text that each token stands for.
    """

    vectors: Float32Array
    spans: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """A text as one vector and as one per token, both of one forward pass.

    `dense` is float32[dim] of unit norm, `tokens` float16[tokens, dim] with unit rows, special
    tokens left out.
    """

    dense: Float32Array
    tokens: Float16Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What an index stores: a chunk, its float32[dim] unit vector and its term counts.

    Where both vectors are None the index keeps those it has and rewrites the chunk alone: an
    edit further up moves a chunk's span without changing what was embedded. `tokens`, as in
    `Embedding` and never empty, may stand beside them; without, a chunk that is replaced has none.
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
    """What one request wants of `Sampling`; None: as the settings say."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] | None = None
    schema: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A question as the service takes it; `history` is what was said before it, oldest first.

    `sampling` is for a language model, where one answers.
    """

    text: str
    scope: Scope
    top_k: int = 10
    where: tuple[Condition, ...] = ()
    history: tuple[Message, ...] = ()
    sampling: SamplingOverrides = SamplingOverrides()


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One ranked list asked of an index: the vector decides which, by its type.

    `exact` has every chunk compared, for a dense one: what a graph misses is found, too.
    """

    name: Literal["dense", "sparse"]
    vector: Float32Array | SparseVector
    limit: int
    where: tuple[Condition, ...] = ()
    exact: bool = False


class Match(NamedTuple):
    """One place in a leg's ranked list; what the chunk says is fetched for the survivors alone.

    A tuple, as `Fused` is: hundreds are made for each question.
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
class Citation:
    """A marker of an answer, and the exact span it stands on.

    `quote == document.text[start:end]`. `chunk_id` names the hit that led to it: where hits were
    widened, the quote may stand beside that chunk. `support`, 0 to 1, says how well the quote
    carries the sentence that cites it; 1 where the sentence is the quote. The marker itself stands
    at characters `marker_start` to `marker_end` of the answer, once that is written.
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
"""Why a model ended: it was done, or `max_tokens` were."""
Reason = Literal["no_documents", "no_match", "weak_evidence"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens that went through language models; zero where there is none.

    `cost` is in the currency of the settings' prices, 0 where they name none. `estimated` says that
    a model's server did not tell the tokens, or not yet, and they were counted here.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    estimated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the service answers.

    `question` is what was searched for: the one that was asked, or what was made of it in a
    conversation so that it stands alone. `confidence`, 0 to 1, is the calibrated probability that
    the evidence answers it; below the threshold the answer abstains and `reason` says why.
    `degraded` names each stage that was left out, with the cause. `timings` is milliseconds by
    stage.

    `unsupported` are the markers that were taken out of the text, since the passages they named do
    not carry what was said; `uncited` the sentences of the text that no citation stands behind,
    both in the order of the text. `passages` are the hits as the generator read them.
    `finish_reason` is None where no model wrote. `id` is random, 32 hex digits: feedback names the
    answer by it. `trace_id` may be the caller's choice, and several answers may share one.
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
    """What a generator is given: the question and its passages, best first.

    A passage's marker in the answer is its place in `hits`, from 1. They may be wider than they
    were found: neighbours read along with them.
    """

    question: str
    scope: Scope
    hits: tuple[Hit, ...]
    sampling: SamplingOverrides = SamplingOverrides()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a language model continues a chat.

    `temperature` 0 takes the likeliest token always. `schema` is a JSON schema that the answer is
    made to fit.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    schema: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A piece of a model's text as it comes; the last one says why it ended.

    `usage` is that of the whole text so far: of a stream that is closed early the last one that
    came counts.
    """

    text: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """What a language model was asked: by which template, and how it was to write."""

    messages: tuple[Message, ...]
    template: str
    sampling: Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A piece of an answer as it is generated.

    The last one of a stream carries `confidence` (see `Answer`) and, where the generator declines
    to answer, the `abstained` reason; its text is then empty. `model` names the language model
    whose words they are; None where they are the passages' own. `usage` is that of the stream so
    far. `degraded`: see `Answer`. `call` is what the model was asked.
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
