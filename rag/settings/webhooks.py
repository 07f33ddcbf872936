"""Settings of webhooks: who is told of ended jobs."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from rag.settings.base import Part

SECRET_PREFIX = "whsec_"  # noqa: S105 - it begins secrets, and is none
_URL = re.compile(r"https?://([\w.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?([/?][!-~]*)?", re.ASCII)
_SECRET_BYTES = range(24, 65)
"""The sizes of secrets that Standard Webhooks allows."""

WebhookName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]


class WebhookSettings(Part):
    """A receiver of signed messages, by Standard Webhooks (https://www.standardwebhooks.com)."""

    url: SecretStr = Field(description="https://…; whoever knows it may often send to it.")
    secret: SecretStr = Field(description="It signs: whsec_ and 24 to 64 bytes in base64.")
    tenant: str = Field("default", description="The tenant whose jobs are told of.")
    private_addresses: bool = Field(
        False, description="The receiver may be on this machine or network."
    )

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: SecretStr) -> SecretStr:
        if not _URL.fullmatch(url.get_secret_value()):
            raise ValueError("it has not the form https://HOST/PATH")
        return url

    @field_validator("secret")
    @classmethod
    def _is_secret(cls, secret: SecretStr) -> SecretStr:
        if len(key_of(secret)) not in _SECRET_BYTES:
            raise ValueError(
                "it is not whsec_ and 24 to 64 bytes in base64:"
                ' echo "whsec_$(openssl rand -base64 32)" makes one'
            )
        return secret


def key_of(secret: SecretStr) -> bytes:
    """Returns the bytes of a secret; none if it has another form."""
    text = secret.get_secret_value()
    try:
        return base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        return b""
