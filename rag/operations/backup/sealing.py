"""Encryption and naming of the objects of a backup."""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import TYPE_CHECKING, Protocol

from rag.errors import StorageError
from rag.operations.backup.thread_memory import ThreadMemory
from rag.process.extras import needing

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_NONCE_BYTES, _TAG_BYTES = 12, 16


class Seal(Protocol):
    """Turns data into an object of a store and back."""

    key_id: str | None
    """Identifies the key, and says nothing about it; None: nothing is encrypted."""
    overhead: int
    """Bytes that an object is longer than its data."""

    def name(self, digest: str) -> str:
        """Returns the name of the object with the data of this SHA-256."""

    def seal(self, name: str, data: bytes | memoryview) -> bytes | memoryview:
        """Returns the object of this name, which is valid until the thread's next call."""

    def unseal(self, name: str, sealed: bytes | memoryview) -> bytes | memoryview:
        """Returns the data of an object, which is valid until the thread's next call.

        Raises:
            StorageError: The object was changed.
        """


class Plain:
    """No encryption: an object is its data, and its name the SHA-256."""

    key_id: str | None = None
    overhead = 0

    def name(self, digest: str) -> str:
        """Returns the digest itself."""
        return digest

    def seal(self, _name: str, data: bytes | memoryview) -> bytes | memoryview:
        """Returns the data."""
        return data

    def unseal(self, _name: str, sealed: bytes | memoryview) -> bytes | memoryview:
        """Returns the object; whoever reads it compares its SHA-256."""
        return sealed


class Encrypted:
    """AES-256-GCM with a random nonce for each object, whose name is authenticated with it.

    NIST SP 800-38D (8.3) allows 2**32 objects under one key: 32 PiB of full pieces. Names are an
    HMAC of the SHA-256, so that they do not tell which known files are stored. The keys of both are
    derived from the one that is given, by HMAC-SHA-256.
    """

    overhead = _NONCE_BYTES + _TAG_BYTES

    def __init__(self, key: bytes) -> None:
        """Takes a key of `KEY_BYTES` random bytes."""
        with needing("backup", for_="`backup.key`"):
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._cipher: AESGCM = AESGCM(_derived(key, "encryption"))
        self._naming = _derived(key, "names")
        self._memory = ThreadMemory()
        self.key_id: str | None = _derived(key, "id").hex()[:16]

    def name(self, digest: str) -> str:
        """Returns the HMAC of the digest."""
        return hmac.digest(self._naming, digest.encode(), hashlib.sha256).hex()

    def seal(self, name: str, data: bytes | memoryview) -> memoryview:
        """Returns nonce, ciphertext and tag."""
        sealed = self._memory.take(len(data) + self.overhead)
        sealed[:_NONCE_BYTES] = nonce = os.urandom(_NONCE_BYTES)
        self._cipher.encrypt_into(nonce, data, name.encode(), sealed[_NONCE_BYTES:])
        return sealed

    def unseal(self, name: str, sealed: bytes | memoryview) -> memoryview:
        """Returns the data, which nobody without the key can have made."""
        from cryptography.exceptions import InvalidTag

        nonce, encrypted = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        data = self._memory.take(max(0, len(sealed) - self.overhead))
        try:
            self._cipher.decrypt_into(nonce, encrypted, name.encode(), data)
        except (InvalidTag, ValueError) as error:
            raise StorageError(
                f"The object {name} of the backup was changed, or cut short: restore another"
                " backup, or bring the object back.",
                code="backup_damaged",
            ) from error
        return data


def _derived(key: bytes, purpose: str) -> bytes:
    return hmac.digest(key, f"Plumbline backup, {purpose}".encode(), hashlib.sha256)
