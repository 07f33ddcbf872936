"""Settings of backups."""

from __future__ import annotations

import base64
import binascii

from pydantic import Field, SecretStr, field_validator

from rag.settings.base import Part

_KEY_BYTES = 32


class BackupSettings(Part):
    """The place and the key of backups."""

    to: str | None = Field(None, description="A folder, or s3://BUCKET/PREFIX.")
    key: SecretStr | None = Field(
        None, description="32 bytes in base64, which encrypt; none: nothing is encrypted."
    )

    @field_validator("key")
    @classmethod
    def _is_key(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and len(key_bytes(key)) != _KEY_BYTES:
            raise ValueError("it is not 32 bytes in base64: `openssl rand -base64 32` makes one")
        return key


def key_bytes(key: SecretStr) -> bytes:
    """Returns the bytes of a key; none if it is not base64."""
    try:
        return base64.b64decode(key.get_secret_value(), validate=True)
    except binascii.Error:
        return b""
