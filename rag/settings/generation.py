"""Settings of the generator and its citations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    SecretStr,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from rag.settings.addresses import BaseUrl
from rag.settings.base import Part, by_kind
from rag.types import ClaimPolicy


class _GeneratorSettings(Part):
    kind: str
    threshold: float | None = Field(
        None, ge=0, le=1, description="Confidence below which it abstains; none: as calibrated."
    )


class ExtractiveSettings(_GeneratorSettings):
    """Answers made of the documents' own sentences."""

    kind: Literal["extractive"] = "extractive"


class _ModelSettings(Part):
    """A language model for any purpose."""

    kind: str
    input_price: float = Field(0.0, ge=0, description="Of a million tokens, in any currency.")
    output_price: float = Field(0.0, ge=0, description="The same, of those that it writes.")
    cached_price: float | None = Field(
        None, ge=0, description="Of those read that its server has in a cache; none: as others."
    )
    gpu_hour_price: float = Field(0.0, ge=0, description="Of an hour of its GPUs.")
    tokens_per_second: float | None = Field(
        None, gt=0, description="That its GPUs write under the usual load, as measured."
    )

    @model_validator(mode="after")
    def _has_throughput(self) -> Self:
        if self.gpu_hour_price and self.tokens_per_second is None:
            raise ValueError("gpu_hour_price needs tokens_per_second, the measured throughput")
        return self


class _ChatSettings(_GeneratorSettings):
    max_tokens: int = Field(512, ge=1, description="Of an answer, at most.")
    temperature: float = Field(0.0, ge=0, le=2, description="0: the likeliest token always.")
    tokens_at_once: int | None = Field(
        None, ge=1, description="Of prompts and answers under way; past it, 503. None: no bound."
    )
    templates: Path | None = Field(None, description="Folder of prompts; none: those that ship.")
    adapters: dict[str, str] = Field(
        {},
        description="LoRA adapters by the tenant whose answers they write; kind 'vllm': folders;"
        " 'openai': as the server names them.",
    )


class OpenAIModelSettings(_ModelSettings):
    """A model on a server that speaks OpenAI's chat completions."""

    kind: Literal["openai"]
    base_url: BaseUrl | None = Field(None, description="Up to and with its /v1.")
    replicas: tuple[BaseUrl, ...] = Field(
        (), description="The same of several servers, in place of base_url."
    )
    affinity: Literal["prefix", "session", "none"] = Field(
        "prefix", description="What requests have in common that go to the same replica."
    )
    hedge: bool = Field(False, description="A second replica is asked if the first one is late.")
    first_token_seconds: float = Field(
        10.0, gt=0, description="Of a replica, to its first token: then another is asked."
    )
    api_key: SecretStr | None = None
    model: str = Field(min_length=1, description="As the server names it.")
    context_tokens: int = Field(8192, ge=256, description="Of the model: prompt and answer.")
    timeout: float = Field(20.0, gt=0, description="Seconds without a byte: it has failed.")

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses of its servers."""
        return self.replicas if self.base_url is None else (self.base_url,)

    @model_validator(mode="after")
    def _has_servers(self) -> Self:
        if (self.base_url is None) == (not self.replicas):
            raise ValueError("it needs either base_url, or replicas with the addresses of several")
        if len(set(self.replicas)) < len(self.replicas):
            raise ValueError("an address of replicas is listed twice")
        if not self.replicas and (self.hedge or self.affinity != "prefix"):
            raise ValueError("affinity and hedge go with replicas")
        return self


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


class CitationSettings(Part):
    """The check that passages support the statements of an answer; quotes need no model."""

    entailment: str | None = Field(
        None,
        min_length=1,
        description="A model for natural language inference: a folder, or a name on the hub; none:"
        " shared characters and the embedder's token vectors.",
    )
    device: str | None = Field(None, description='"cuda:0", "cpu" …; none: the best there is.')
    claims: ClaimPolicy = Field(
        "strict", description="What becomes of a model's sentence that no passage supports."
    )


GeneratorSettings = Annotated[
    Annotated[ExtractiveSettings, Tag("extractive")]
    | Annotated[OpenAISettings, Tag("openai")]
    | Annotated[VllmSettings, Tag("vllm")],
    Discriminator(
        by_kind("extractive"),
        custom_error_type="kind",
        custom_error_message="kind must be 'extractive', 'openai' or 'vllm'",
    ),
]
