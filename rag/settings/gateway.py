"""Settings of the gateway: who may call, and what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, model_validator

from rag.settings.addresses import SecureUrl
from rag.settings.base import Part
from rag.settings.budgets import CostSettings
from rag.settings.tiers import RateSettings
from rag.types import DEFAULT_TENANT, TENANT, Permission


class IssuerSettings(Part):
    """An issuer of tokens, by OpenID Connect, and the meaning of its claims.

    Names of claims may be dotted paths into objects: `realm_access.roles`.
    """

    url: SecureUrl = Field(description="Exactly as `iss` in its tokens.")
    jwks_url: SecureUrl | None = Field(
        None, description="Its keys; none: as URL/.well-known/openid-configuration says."
    )
    audiences: tuple[str, ...] = Field(
        min_length=1, description="Names of this service; `aud` of a token has one of them."
    )
    required_claims: dict[str, tuple[str, ...]] = Field(
        {}, description="Claims that a token must have, each with one of these values."
    )
    tenant: str = Field(DEFAULT_TENANT, pattern=TENANT, description="Tenant of all its tokens.")
    tenant_claim: str | None = Field(
        None, min_length=1, description="Claim with the tenant, in place of `tenant`; required."
    )
    subject_claim: str = Field("sub", min_length=1, description="Claim with the user; required.")
    groups_claim: str = Field("groups", min_length=1, description="Claim with the user's groups.")
    scopes_claims: tuple[str, ...] = Field(
        ("scope",), description="Claims with the roles, groups or scopes that `scopes` maps."
    )
    scopes: dict[str, tuple[Permission, ...]] = Field(
        {}, description="Scopes by value of those claims; other values permit nothing."
    )
    default_scopes: tuple[Permission, ...] = Field((), description="Scopes of all its tokens.")


Days = Annotated[float, Field(gt=0)]


class AuditSettings(Part):
    """The audit log, which is written while the gateway is switched on."""

    keep_days: Days = Field(365.0, description="Older rows are removed; the rest is verifiable.")
    tenants: Mapping[str, Days] = Field({}, description="The same, for some tenants.")


class GatewaySettings(Part):
    """Authentication of callers. Without it, everyone is the one tenant `default`."""

    enabled: bool = Field(False, description="Callers need an API key or a token.")
    failed_per_minute: int = Field(
        20,
        ge=1,
        description="Wrong keys and tokens from one address; past it, 429 for unknown ones.",
    )
    issuers: tuple[IssuerSettings, ...] = Field(
        (), description="Issuers whose tokens are accepted beside API keys."
    )
    clock_skew_seconds: int = Field(
        60, ge=0, le=600, description="Seconds by which clocks of issuers may differ from this one."
    )
    issuer_refresh_seconds: float = Field(
        300, gt=0, description="Seconds after which an issuer's keys are fetched again."
    )
    issuer_outage_seconds: float = Field(
        3600, gt=0, description="Seconds for which fetched keys are used if an issuer is away."
    )
    limits: RateSettings = RateSettings()
    costs: CostSettings = CostSettings()
    audit: AuditSettings = AuditSettings()

    @model_validator(mode="after")
    def _are_distinct(self) -> Self:
        named = {each.url for each in self.issuers}
        if len(named) < len(self.issuers):
            raise ValueError("issuers has an issuer twice: one entry has all its audiences")
        if self.issuer_outage_seconds < self.issuer_refresh_seconds:
            raise ValueError("issuer_outage_seconds is less than issuer_refresh_seconds")
        return self
