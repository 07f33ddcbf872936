"""Settings of server, traces, privacy, metrics, logs and limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    PositiveFloat,
    SecretStr,
    StringConstraints,
    Tag,
    field_validator,
    model_validator,
)

from rag.privacy.policy import Capture
from rag.settings.base import Part, by_kind
from rag.settings.generation import OpenAIModelSettings, VllmModelSettings
from rag.types import TENANT


class ServerSettings(Part):
    """The address of `rag serve`, and its callers."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535, description="0: any free one.")
    processes: int = Field(
        1, ge=1, le=256, description="That answer requests; several need everything on servers."
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Names by which others call it, besides localhost and what it listens on;"
        ' "*.example.com": all under it; "*": any.',
    )
    allowed_origins: tuple[str, ...] = Field(
        (), description="Of pages elsewhere that may call it: https://HOST:PORT."
    )
    stop_notice: Path | None = Field(
        None, description="A file that appears before the machine is taken: it then stops."
    )
    stop_notice_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s/?#@]+(/[^\s#]*)?$",
        description="An address that tells the same: of AWS, Google Cloud, Azure, or of your own.",
    )
    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$",
        description="Where browsers reach it: citations of files then link to the originals.",
    )

    allow_unauthenticated: bool = Field(
        False, description="Listen beyond loopback without the gateway: everyone may do everything."
    )
    trusted_proxies: tuple[str, ...] = Field(
        (), description="Addresses and networks of proxies whose header is believed."
    )
    proxy_header: Literal["x-forwarded-for", "forwarded"] = Field(
        "x-forwarded-for",
        description="That these proxies write: with X-Forwarded-Proto, or that of RFC 7239.",
    )
    tls_cert: Path | None = Field(None, description="Certificate chain, PEM; none: plain HTTP.")
    tls_key: Path | None = Field(None, description="Its private key, PEM, without a passphrase.")

    @model_validator(mode="after")
    def _has_both(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together: set both, or neither")
        return self

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            try:
                ip_network(proxy)
            except ValueError as error:
                raise ValueError(
                    f"{proxy!r} is neither an address nor a network, as 10.0.0.7 and 10.0.0.0/8 are"
                ) from error
        return proxies

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


class TraceSettings(Part):
    """The receiver of traces, and their selection; without keys and address none are sent."""

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
    """No traces, even if the environment configures Langfuse's and OpenTelemetry's clients."""


class PrivacySettings(Part):
    """The text of users and documents that may be stored and sent."""

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


class GeneratorJudgeSettings(Part):
    """The generator's language model is the judge."""

    kind: Literal["generator"]


JudgeSettings = Annotated[
    Annotated[GeneratorJudgeSettings, Tag("generator")]
    | Annotated[OpenAIModelSettings, Tag("openai")]
    | Annotated[VllmModelSettings, Tag("vllm")],
    Discriminator(
        by_kind("generator"),
        custom_error_type="kind",
        custom_error_message="kind must be 'generator', 'openai' or 'vllm'",
    ),
]


class OnlineSettings(Part):
    """Storage of answers, and the scoring of some of them."""

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


class MetricsSettings(Part):
    """Metrics for Prometheus."""

    tenants: tuple[str, ...] = Field(
        (), description="Counted each by its name, the rest as `other`; none: no label."
    )


class LogSettings(Part):
    """The service's log on standard error."""

    format: Literal["text", "json"] = Field(
        "text", description="json: an object a line, and one for each request."
    )
    questions: bool = Field(
        False, description="Requests' lines have what was asked, as privacy.capture lets it out."
    )


class ClassSettings(Part):
    """How questions of a class wait where too many are under way."""

    weight: float = Field(4.0, gt=0, description="Its share of free places, beside the others'.")
    at_once: int | None = Field(None, ge=1, description="Under way; none: limits.questions.")
    waiting: int = Field(256, ge=0, description="Waiting, at most; past it, 503.")
    wait_seconds: float = Field(5.0, ge=0, description="Of waiting, at most; past it, 503.")
    query_seconds: float | None = Field(
        None, gt=0, description="Deadline, once it has begun; none: limits.query_seconds."
    )


class InteractiveClassSettings(ClassSettings):
    """As `ClassSettings`, for somebody who waits at a screen."""

    weight: float = Field(8.0, gt=0, description="As `standard.weight`.")
    wait_seconds: float = Field(2.0, ge=0, description="As `standard.wait_seconds`.")


class BatchClassSettings(ClassSettings):
    """As `ClassSettings`, for what nobody waits for."""

    weight: float = Field(1.0, gt=0, description="As `standard.weight`.")
    wait_seconds: float = Field(60.0, ge=0, description="As `standard.wait_seconds`.")


class AdmissionSettings(Part):
    """Which questions begin first where too many are under way."""

    interactive: InteractiveClassSettings = InteractiveClassSettings()
    standard: ClassSettings = ClassSettings()
    batch: BatchClassSettings = BatchClassSettings()
    tenants: Mapping[Annotated[str, StringConstraints(pattern=TENANT)], PositiveFloat] = Field(
        {}, description="Weights of tenants within a class; the others have 1."
    )


class BatchSettings(Part):
    """Batches of requests, which are answered in the background."""

    at_once: int = Field(
        4, ge=0, description="Lines that a process answers at the same time; 0: it answers none."
    )
    file_mb: int = Field(32, ge=1, le=512, description="One file of requests, in MiB.")
    price: float = Field(0.5, ge=0, description="Their cost in the ledger, as a factor.")
    keep_days: float = Field(
        30.0, gt=0, description="Batches that ended before, and files sent before, are deleted."
    )


class LimitSettings(Part):
    """Bounds on input; an error beyond one names its setting."""

    file_mb: int = Field(64, ge=1, description="One document, in MiB.")
    upload_mb: int = Field(256, ge=1, description="One HTTP request, in MiB.")
    upload_documents: int = Field(1000, ge=1, description="Documents in one request.")
    question_chars: int = Field(16_000, ge=1)
    messages: int = Field(1000, ge=1, description="Of a conversation.")
    texts: int = Field(2048, ge=1, description="To embed or to rerank in one request.")
    top_k: int = Field(100, ge=1, le=1000)
    questions: int = Field(256, ge=1, description="Under way at once; past it, 503.")
    query_seconds: float = Field(30.0, gt=0, description="Deadline of a question.")
