"""One tree of settings; its defaults are the embedded profile.

Order of precedence: arguments, environment (`RAG_RETRIEVAL__DEPTH=80`), the TOML file named by
`RAG_CONFIG` or `./rag.toml`, the profile, defaults. `RAG_CATALOG__URL__FILE` names a file that has
a secret.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import (
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import to_jsonable_python
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from rag.errors import ConfigError
from rag.privacy.redaction import masked
from rag.settings.answer_cache import (
    MemoryAnswerCacheSettings,
    NoAnswerCacheSettings,
    RedisAnswerCacheSettings,
)
from rag.settings.backup import BackupSettings
from rag.settings.capacity import CapacitySettings
from rag.settings.gateway import GatewaySettings
from rag.settings.generation import CitationSettings, ExtractiveSettings, GeneratorSettings
from rag.settings.gpu import GpuHealthSettings
from rag.settings.ingest import ChunkerSettings, FetchSettings, ReaderSettings, SectionSettings
from rag.settings.model_cache import ModelCacheSettings
from rag.settings.operations import (
    AdmissionSettings,
    BatchSettings,
    LimitSettings,
    LogSettings,
    MetricsSettings,
    OnlineSettings,
    PrivacySettings,
    ServerSettings,
    TraceSettings,
)
from rag.settings.profiles import Profile, ProfileSource
from rag.settings.retrieval import (
    BertSettings,
    EmbedderSettings,
    LateInteractionSettings,
    RerankerSettings,
    RetrievalSettings,
)
from rag.settings.routing import RouteSettings
from rag.settings.slo import SloSettings
from rag.settings.storage import (
    CeleryQueueSettings,
    EdgeSettings,
    LocalQueueSettings,
    PostgresSettings,
    QdrantSettings,
    SqliteSettings,
)
from rag.settings.synthetic import SyntheticSettings
from rag.settings.variants import VariantName, VariantSettings, completed
from rag.settings.webhooks import WebhookName, WebhookSettings
from rag.text.validation_errors import first, shortened

PREFIX = "RAG_"
FILE = "__FILE"
"""Ends the variable that names a file with the value of a secret."""
COLLECTION = r"^[a-z0-9][a-z0-9_-]{0,63}$"
"""Pattern of collection names, which are also names of folders."""
SECRETS = {
    "catalog.url",
    "queue.broker_url",
    "index.api_key",
    "gateway.limits.redis_url",
    "model_cache.url",
    "answer_cache.url",
    "generator.api_key",
    "reranker.api_key",
    "traces.secret_key",
    "online.judge.api_key",
    "synthetic.key",
    "backup.key",
}
"""Settings whose values must not appear in any message."""
_PROBLEM_CHARS = 500
_PLAIN = re.compile(r"([a-z]+://)?[\w.-]*(:\d+)?(/[\w./-]*)?")
"""Pattern of addresses that cannot contain a secret."""
_ADDRESS = re.compile(r"(url|\.replicas)(\.\d+)?$")
"""End of the names of settings that are addresses."""
_GENERATOR = re.compile(r"^(fallbacks\.\d+|routes\.\d+\.generator)")
"""Beginning of the names of settings of other generators."""
NOT_SETTINGS = {"RAG_API_KEY", "RAG_CONFIG", "RAG_URL"}
"""Environment variables with the prefix that are not settings; other code reads them."""


def _with_files(variables: Mapping[str, str | None]) -> dict[str, str | None]:
    """Returns the environment with the contents of the files that its `…__FILE` name.

    Docker and Kubernetes mount secrets as files. Names are in lower case, as pydantic has them.
    """
    found = dict(variables)
    for name in _file_variables():
        if path := found.pop(name.lower(), None):
            found[name.removesuffix(FILE).lower()] = _read(name, path)
    return found


def _file_variables() -> list[str]:
    """Returns the names of the variables that name the file of a secret."""
    return sorted(_variable(name) + FILE for name in SECRETS)


def _read(variable: str, path: str) -> str:
    name = variable.removesuffix(FILE)
    if any(os.environ[each] for each in os.environ if each.upper() == name):
        raise ConfigError(f"The environment sets {name} and {variable}: set one of them.")
    try:
        value = Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{variable} names {path!r}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{variable} names {path!r}, which is not UTF-8 text.") from None
    if not value:
        raise ConfigError(f"{variable} names {path!r}, which is empty.")
    return value


def _variable(name: str) -> str:
    """Returns the environment variable of a setting."""
    return PREFIX + name.replace(".", "__").upper()


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
    )

    profile: Profile = Field("balanced", description="Settings for a budget; others win over it.")
    data_dir: Path = Field(Path(".rag"), description="Index, catalog and spool live here.")
    models_dir: Path | None = Field(
        None, description="Folder of the registry of models; none: models, in data_dir."
    )
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
    routes: tuple[RouteSettings, ...] = Field(
        (), description="Other generators for some questions; the first that fits is taken."
    )
    citations: CitationSettings = CitationSettings()
    answer_cache: NoAnswerCacheSettings | MemoryAnswerCacheSettings | RedisAnswerCacheSettings = (
        Field(NoAnswerCacheSettings(), discriminator="kind")
    )
    model_cache: ModelCacheSettings = ModelCacheSettings()
    catalog: SqliteSettings | PostgresSettings = Field(SqliteSettings(), discriminator="kind")
    queue: LocalQueueSettings | CeleryQueueSettings = Field(
        LocalQueueSettings(), discriminator="kind"
    )
    server: ServerSettings = ServerSettings()
    gateway: GatewaySettings = GatewaySettings()
    traces: TraceSettings = TraceSettings()
    privacy: PrivacySettings = PrivacySettings()
    online: OnlineSettings = OnlineSettings()
    webhooks: Mapping[WebhookName, WebhookSettings] = Field(
        {}, description="Who is told of ended jobs."
    )
    variants: Mapping[VariantName, VariantSettings] = Field(
        {}, description="Pipelines that differ from this one, for rollouts."
    )
    metrics: MetricsSettings = MetricsSettings()
    slo: SloSettings = SloSettings()
    gpu: GpuHealthSettings = GpuHealthSettings()
    log: LogSettings = LogSettings()
    limits: LimitSettings = LimitSettings()
    admission: AdmissionSettings = AdmissionSettings()
    batches: BatchSettings = BatchSettings()
    capacity: CapacitySettings = CapacitySettings()
    synthetic: SyntheticSettings = SyntheticSettings()
    backup: BackupSettings = BackupSettings()

    @model_validator(mode="before")
    @classmethod
    def _complete_variants(cls, settings: Any) -> Any:
        return completed(settings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Returns the sources, the first of which wins; no .env file, no secrets folder."""
        toml = TomlConfigSettingsSource(settings_cls, toml_file=config_file())
        environment = EnvSettingsSource(settings_cls)
        environment.env_vars = _with_files(environment.env_vars)
        return init_settings, environment, toml, ProfileSource(settings_cls)


def config_file() -> Path | None:
    """Returns the TOML file in use; None if there is none.

    Raises:
        ConfigError: `RAG_CONFIG` names a file that does not exist.
    """
    if named := os.environ.get("RAG_CONFIG"):
        if not Path(named).is_file():
            raise ConfigError(f"RAG_CONFIG names {named!r}, and there is no such file.")
        return Path(named)
    return Path("rag.toml") if Path("rag.toml").is_file() else None


def load_settings(**overrides: Any) -> Settings:
    """Returns the settings in use.

    Raises:
        ConfigError: A name is unknown or a value is not valid; the message has name and value.
    """
    _check_environment()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        faults = first(_problems(error), error.error_count(), between="\n")
        raise ConfigError(faults) from None
    except SettingsError as error:  # a variable for a whole part that is not JSON
        raise ConfigError(f"The environment does not fit: {error}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{config_file()} is not valid TOML: {error}.") from None


def printable(settings: Settings) -> dict[str, Any]:
    """Returns the settings in printable form: without secrets, and with masked URLs."""
    found: dict[str, Any] = to_jsonable_python(_masked("", settings.model_dump()))
    return found


def _masked(name: str, value: Any) -> Any:
    match value:
        case dict():
            return {key: _masked(f"{name}.{key}", part) for key, part in value.items()}
        case list() | tuple():
            return [_masked(name, part) for part in value]
        case SecretStr() if name.endswith("url") and not name.startswith(".webhooks."):
            return masked(value.get_secret_value())
        case str() if name.endswith(("url", ".replicas")):
            return masked(value)
    return value


def names() -> list[str]:
    """Returns all setting names, dotted: `retrieval.depth`; includes those of every `kind`."""
    return sorted(set(_names(Settings)))


def _names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        # The parts of a list have no names, and those of a mapping any: it is set as a whole.
        is_whole = get_origin(field.annotation) in (tuple, Mapping)
        parts = [] if is_whole else _models(field.annotation)
        for part in parts:
            yield from _names(part, f"{prefix}{name}.")
        if not parts:
            yield f"{prefix}{name}"


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Returns the settings classes that an annotation names: one, those of a union, or none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _check_environment() -> None:
    known = set(map(_variable, names()))
    parts = {name.rsplit("__", 1)[0] for name in known if "__" in name}
    known |= set(_file_variables())
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
            hidden = (
                problem["type"] == "missing"  # the input is the whole part
                or _has_secrets(problem["input"])
                or _is_secret(name)
                or (_ADDRESS.search(name) and not _PLAIN.fullmatch(str(problem["input"])))
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
    """Returns the setting's name of a place in the tree, which omits the kinds of parts."""
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


def _has_secrets(value: Any) -> bool:
    """Returns True if a part of the settings, as it was given, may have a secret in it."""
    match value:
        case dict():
            leaves = {name.rpartition(".")[2] for name in SECRETS}
            return any(
                name in leaves or _ADDRESS.search(f".{name}") or _has_secrets(part)
                for name, part in value.items()
            )
        case list() | tuple():
            return any(map(_has_secrets, value))
        case _:
            return isinstance(value, BaseModel)


def _is_secret(name: str) -> bool:
    """Returns True if the value of a setting may contain a secret, as a list of parts may."""
    if name.split(".", maxsplit=1)[0] in ("webhooks", "variants"):
        return True
    return name == "fallbacks" or _GENERATOR.sub("generator", name) in SECRETS
