"""Requests and responses of the endpoints of keys."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.config import JsonDict

from rag.api.schemas import Label
from rag.gateway.api_keys import Grant
from rag.records import KeyRecord
from rag.settings.tree import COLLECTION
from rag.text.numbers import IS_NUMBER
from rag.text.validation_errors import FewUnknown
from rag.types import Permission

MOST = 100
"""Most collections, and groups, of a key."""
LONGEST_SECONDS = 10 * 366 * 24 * 3600
_EXAMPLE: JsonDict = {"name": "chat UI", "scopes": ["ask", "read"], "collections": ["handbook"]}
_Collection = Annotated[str, Field(pattern=COLLECTION)]


class KeyRequest(FewUnknown):
    """A key to make, in the caller's tenant."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    name: Label = Field(description="What it is for.")
    scopes: list[Permission] = Field(
        min_length=1, max_length=5, description="At most those of the caller."
    )
    collections: list[_Collection] | None = Field(
        None,
        min_length=1,
        max_length=MOST,
        description="Those that it reaches; others are as if they did not exist. None: all.",
    )
    subject: Label | None = Field(None, description="The user who it stands for.")
    groups: list[Label] = Field([], max_length=MOST, description="The user's groups.")
    expires_in: Annotated[float, Field(gt=0, le=LONGEST_SECONDS), IS_NUMBER] | None = Field(
        None, description="Seconds; none: it does not expire."
    )

    @field_validator("scopes")
    @classmethod
    def _once(cls, scopes: list[Permission]) -> list[Permission]:
        return sorted(set(scopes))

    def grant(self) -> Grant:
        """Returns the request in the gateway's form."""
        return Grant(
            name=self.name,
            scopes=self.scopes,
            collections=self.collections,
            subject=self.subject or "",
            groups=self.groups,
            expires_in=self.expires_in,
        )


class KeyOut(BaseModel):
    """A key, without the key itself. `id` is its second part: `pl_ID_…`."""

    id: str
    name: str
    tenant: str
    scopes: list[Permission]
    collections: list[str] | None
    subject: str
    groups: list[str]
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None = Field(description="To the minute.")
    previous_until: str | None = Field(
        description="Until then the key before the last rotation is accepted, too."
    )


class NewKeyOut(KeyOut):
    """A new key: it is shown only here."""

    key: str = Field(examples=[f"pl_0123456789ab_{'0' * 64}"])


class KeyList(BaseModel):
    """The keys of a tenant, oldest first."""

    keys: list[KeyOut]


def key_json(record: KeyRecord) -> dict[str, Any]:
    """Returns a key in the form of `KeyOut`."""
    return {
        "id": record.id,
        "name": record.name,
        "tenant": record.tenant,
        "scopes": record.scopes,
        "collections": record.collections,
        "subject": record.subject,
        "groups": record.groups,
        "created_at": _time(record.created_at),
        "expires_at": _time(record.expires_at),
        "revoked_at": _time(record.revoked_at),
        "last_used_at": _time(record.last_used_at),
        "previous_until": _time(record.previous_until),
    }


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
