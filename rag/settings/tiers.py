"""Settings of limits: how much a caller may ask for in a minute, and at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from rag.settings.base import Part
from rag.settings.storage import with_scheme

WhenAway = Literal["open", "closed"]


class TierSettings(Part):
    """The limits of one owner; none: no limit, 0: nothing is allowed."""

    requests: int | None = Field(None, ge=0, description="Requests a minute.")
    requests_burst: int | None = Field(
        None, ge=1, description="Requests that may come at one moment; none: those of a minute."
    )
    tokens: int | None = Field(
        None, ge=0, description="Tokens a minute, read and written, of language models."
    )
    tokens_burst: int | None = Field(None, ge=1, description="The same for tokens.")
    at_once: int | None = Field(None, ge=0, description="Requests under way.")


FREE = TierSettings(requests=60, tokens=20_000, at_once=10)
PRO = TierSettings(requests=600, tokens=200_000, at_once=50)
ENTERPRISE = TierSettings(requests=6000, tokens=2_000_000, at_once=500)


class RateSettings(Part):
    """Limits of tenants, of keys and of users; a request is within all that apply to it."""

    tiers: Mapping[str, TierSettings] = Field(
        {"free": FREE, "pro": PRO, "enterprise": ENTERPRISE}, description="Limits by name."
    )
    tenant: str | None = Field(None, description="Tier of each tenant; none: no limits.")
    key: str | None = Field(None, description="Tier of each key.")
    subject: str | None = Field(None, description="Tier of each user.")
    tenants: Mapping[str, str] = Field({}, description="Tiers of some tenants, by name.")
    keys: Mapping[str, str] = Field({}, description="Tiers of some keys, by id.")
    redis_url: SecretStr | None = Field(
        None, description="redis://HOST:PORT/0, for several processes; none: each has its own."
    )
    requests_without_redis: WhenAway = Field(
        "open", description="While Redis is away: limited by each process, or refused."
    )
    tokens_without_redis: WhenAway = Field("closed", description="The same for tokens.")

    @field_validator("tenant", "key", "subject", "tenants", "keys")
    @classmethod
    def _are_tiers(
        cls, named: str | Mapping[str, str] | None, info: ValidationInfo
    ) -> str | Mapping[str, str] | None:
        tiers = info.data.get("tiers", {})  # missing if it is not valid
        for name in [named] if isinstance(named, str) else (named or {}).values():
            if name not in tiers:
                raise ValueError(f"{name!r} is none of the tiers: {', '.join(tiers)}")
        return named

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, url: SecretStr | None) -> SecretStr | None:
        return url and with_scheme(url, "redis", "rediss")
