"""Recognizes callers by keys and by tokens, which differ in their form."""

from __future__ import annotations

from rag.protocols import Authenticator
from rag.types import Principal


def is_token(credential: str) -> bool:
    """Returns True if a credential has the form of a token: it has dots, and a key has none."""
    return "." in credential


class KeysAndTokens:
    """Leaves keys to one authenticator, and tokens to another."""

    def __init__(self, *, keys: Authenticator, tokens: Authenticator) -> None:
        self._keys = keys
        self._tokens = tokens

    async def authenticate(self, credential: str) -> Principal:
        """Returns the caller whose key or token it is.

        Raises:
            UnauthenticatedError: It is not valid, or no longer.
            UpstreamError, StorageError: It cannot be checked now.
        """
        chosen = self._tokens if is_token(credential) else self._keys
        return await chosen.authenticate(credential)
