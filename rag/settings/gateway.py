"""Settings of the gateway: who may call, and what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from rag.settings.base import Part

Days = Annotated[float, Field(gt=0)]


class AuditSettings(Part):
    """The audit log, which is written while the gateway is switched on."""

    keep_days: Days = Field(365.0, description="Older rows are removed; the rest is verifiable.")
    tenants: Mapping[str, Days] = Field({}, description="The same, for some tenants.")


class GatewaySettings(Part):
    """Authentication of callers. Without it, everyone is the one tenant `default`."""

    enabled: bool = Field(False, description="Callers need an API key: `rag keys create`.")
    failed_per_minute: int = Field(
        20, ge=1, description="Wrong keys from one address; past it, 429 for those not seen before."
    )
    audit: AuditSettings = AuditSettings()
