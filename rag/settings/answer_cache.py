"""Settings of the answer cache."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, field_validator

from rag.settings.base import Part
from rag.settings.storage import with_scheme


class NoAnswerCacheSettings(Part):
    """Every answer is made for its question."""

    kind: Literal["none"] = "none"


class _CacheSettings(Part):
    ttl_seconds: float = Field(3600.0, gt=0, description="Age past which no answer is given again.")
    similarity: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Cosine from which two questions may ask the same, as `rag cache calibrate`"
        " fits it; none: only equal questions do.",
    )


class MemoryAnswerCacheSettings(_CacheSettings):
    """Answers are kept in the memory of each process."""

    kind: Literal["memory"]
    max_mb: int = Field(64, ge=1, description="Of answers, in MiB; past it, the longest unused go.")


class RedisAnswerCacheSettings(_CacheSettings):
    """Answers are kept in Redis, for all processes; its `maxmemory` bounds them."""

    kind: Literal["redis"]
    url: SecretStr = Field(description="redis://HOST:PORT/0")

    @field_validator("url")
    @classmethod
    def _is_redis(cls, url: SecretStr) -> SecretStr:
        return with_scheme(url, "redis", "rediss")
