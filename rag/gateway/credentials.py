"""Recognizes callers by keys and by tokens, which differ in their form."""

from __future__ import annotations

from rag.protocols import Authenticator
from rag.types import Principal


class KeysAndTokens:
    """Leaves keys to one authenticator, and tokens to another."""

    def __init__(self, *, keys: Authenticator, tokens: Authenticator) -> None:
        self._keys = keys
        self._tokens = tokens

    async def authenticate(self, credential: str) -> Principal:
        """Returns the caller whose key or token it is; a token has dots, and a key has none.

        Raises:
            UnauthenticatedError: It is not valid, or no longer.
            UpstreamError, StorageError: It cannot be checked now.
        """
        chosen = self._tokens if "." in credential else self._keys
        return await chosen.authenticate(credential)
