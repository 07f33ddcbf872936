"""Settings of the cache of models' results."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator

from rag.settings.base import Part
from rag.settings.storage import with_scheme


class ModelCacheSettings(Part):
    """Redis, which keeps the vectors and scores of a tenant's texts for all processes."""

    url: SecretStr | None = Field(None, description="redis://HOST:PORT/0; none: nothing is kept.")
    ttl_seconds: float = Field(604_800.0, gt=0, description="For which a result is kept.")

    @field_validator("url")
    @classmethod
    def _is_redis(cls, url: SecretStr | None) -> SecretStr | None:
        return url and with_scheme(url, "redis", "rediss")
