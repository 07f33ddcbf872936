"""Requests and responses of the endpoints of refused tokens."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from rag.api import shapes
from rag.gateway.claims import NAME_CHARS, is_name
from rag.records import Refusal, RefusalKind
from rag.text.numbers import IS_NUMBER
from rag.text.validation_errors import FewUnknown

SECONDS = 30 * 24 * 3600.0
"""Seconds of a refusal, by default: access tokens live for less."""
LONGEST_SECONDS = 10 * 366 * 24 * 3600
_EXAMPLE: JsonDict = {"kind": "subject", "value": "jo@example.com"}
Kind = Annotated[
    RefusalKind,
    Field(
        description="`token`: one token, by its id (`jti`, or `uti` of Entra ID). `subject`: all"
        " tokens that a user or a program was issued before."
    ),
]


def _named(text: str) -> str:
    if not is_name(text):
        raise ValueError(
            "no token has such an id or subject: it holds a line end or another character that"
            " cannot be printed"
        )
    return text


Value = Annotated[
    str,
    Field(
        min_length=1,
        max_length=NAME_CHARS,
        description="The id of the token, or the subject.",
        json_schema_extra={"pattern": shapes.NAME},
    ),
    AfterValidator(_named),
]


class RefusalRequest(FewUnknown):
    """A token or a subject of the caller's tenant, to be refused until a time."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    kind: Kind
    value: Value
    expires_in: Annotated[float, Field(gt=0, le=LONGEST_SECONDS), IS_NUMBER] = Field(
        SECONDS, description="Seconds: at least as long as the tokens live."
    )


class RefusalOut(BaseModel):
    """A refused token, or a subject whose tokens from before `refused_at` are refused."""

    tenant: str
    kind: RefusalKind
    value: str
    refused_at: str
    expires_at: str = Field(description="The refusal ends then.")


class RefusalList(BaseModel):
    """The refusals of a tenant, oldest first."""

    refused: list[RefusalOut]


def refusal_json(refusal: Refusal) -> dict[str, Any]:
    """Returns a refusal in the form of `RefusalOut`."""
    return {
        "tenant": refusal.tenant,
        "kind": refusal.kind,
        "value": refusal.value,
        "refused_at": _time(refusal.refused_at),
        "expires_at": _time(refusal.expires_at),
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
