"""Settings of the synthetic canary."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, SecretStr, StringConstraints, model_validator

from rag.settings.base import Part
from rag.types import DEFAULT_TENANT, TENANT


class SyntheticSettings(Part):
    """The synthetic canary, which `rag serve` runs, one process at a time."""

    every_minutes: float = Field(0, ge=0, le=1440, description="0: never.")
    tenant: Annotated[str, StringConstraints(pattern=TENANT)] = Field(
        "synthetic", description="Its own: questions of this tenant count in no figure of quality."
    )
    key: SecretStr | None = Field(
        None, description="An API key of that tenant, with the scopes ask, read and write."
    )
    url: str | None = Field(
        None,
        pattern=r"^https?://[^\s/?#@]+$",
        description="Where it calls the service, as users do; none: this process.",
    )

    @model_validator(mode="after")
    def _has_its_own_tenant(self) -> Self:
        if self.tenant == DEFAULT_TENANT:
            raise ValueError(f"{self.tenant!r} is the tenant of others: name one for it alone")
        return self
