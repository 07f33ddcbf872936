"""Settings of the gateway: who may call, and what."""

from __future__ import annotations

from pydantic import Field

from rag.settings.base import Part


class GatewaySettings(Part):
    """Authentication of callers. Without it, everyone is the one tenant `default`."""

    enabled: bool = Field(False, description="Callers need an API key: `rag keys create`.")
    failed_per_minute: int = Field(
        20, ge=1, description="Wrong keys from one address; past it, 429 for those not seen before."
    )
