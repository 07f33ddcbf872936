"""Settings of index, catalog and queue."""

from __future__ import annotations

from typing import ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import (
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from rag.settings.addresses import Addresses, Ports
from rag.settings.base import Part


class EdgeSettings(Part):
    """The index in this process, under `data_dir`."""

    kind: Literal["edge"] = "edge"


class QdrantSettings(Part):
    """The index on a Qdrant server or cluster, 1.19 or later.

    `shards` and the settings after it apply only to collections created later.
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
        """All addresses, also if there is only one."""
        return (self.url,) if isinstance(self.url, str) else self.url

    @field_validator("grpc_port")
    @classmethod
    def _is_one_for_each(cls, ports: Ports, info: ValidationInfo) -> Ports:
        url = info.data.get("url")  # missing if it is not valid
        if (
            isinstance(ports, tuple)
            and url
            and len(ports) != len([url] if isinstance(url, str) else url)
        ):
            raise ValueError("It must be one port for all addresses in index.url, or one for each")
        return ports


class SqliteSettings(Part):
    """The catalog is a file in the data folder, for one process."""

    kind: Literal["sqlite"] = "sqlite"


class PostgresSettings(Part):
    """The catalog is a PostgreSQL database, for any number of processes."""

    kind: Literal["postgres"]
    url: SecretStr = Field(description="postgresql://USER:PASSWORD@HOST:PORT/DATABASE")

    @field_validator("url")
    @classmethod
    def _is_postgres(cls, url: SecretStr) -> SecretStr:
        return with_scheme(url, "postgresql", "postgres")


class _QueueSettings(Part):
    in_process: ClassVar[bool] = False
    """True if the process that accepts documents also ingests them."""
    task_seconds: float = Field(
        21600, gt=0, description="One document, from its first byte read; past it, it fails."
    )


class LocalQueueSettings(_QueueSettings):
    """Documents are ingested by the process that accepts them."""

    in_process = True
    kind: Literal["local"] = "local"


class CeleryQueueSettings(_QueueSettings):
    """Documents are ingested by `rag worker` processes, which get their tasks from a broker."""

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
        return with_scheme(url, "redis", "rediss", "amqp", "amqps")


def with_scheme(url: SecretStr, *schemes: str) -> SecretStr:
    """Returns the URL. Raises ValueError unless it has one of these schemes, and a place."""
    parts = urlsplit(url.get_secret_value())
    # Without a host, a path names the database and a query the socket.
    if parts.scheme not in schemes or not (parts.hostname or parts.path.strip("/")):
        raise ValueError(f"It has the form {schemes[0]}://USER:PASSWORD@HOST:PORT/NAME")
    return url
