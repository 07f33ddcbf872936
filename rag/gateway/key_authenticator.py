"""Recognizes callers by their API keys, and remembers them for seconds."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import math
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import NamedTuple

from rag.catalog.keys import Keys
from rag.errors import RagError, UnauthenticatedError, for_log
from rag.gateway.api_keys import digest_of, id_of
from rag.gateway.credential_cache import CredentialCache
from rag.process.background import running
from rag.records import StoredKey
from rag.types import Principal

STAMP_SECONDS = 60.0
"""Seconds between two writes of when keys were last used."""
_NO_DIGEST = "0" * 64
"""Compared if there is no such key, so that both cases do the same work."""
_log = logging.getLogger(__name__)


class _Known(NamedTuple):
    principal: Principal
    ends_at: float
    """By the wall clock: the key has expired after that."""


class KeyAuthenticator:
    """Looks keys up in the catalog, and remembers those that are valid."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._known: CredentialCache[_Known] = CredentialCache()
        self._used: dict[str, float] = {}

    async def authenticate(self, credential: str) -> Principal:
        """Returns the caller whose key it is.

        Raises:
            UnauthenticatedError: There is no such key, or it was revoked, replaced or has expired.
            UpstreamError, StorageError: The catalog does not answer.
        """
        id_ = id_of(credential)
        if id_ is None:
            raise UnauthenticatedError
        digest, now = digest_of(credential), time.time()
        known = await self._known.get(digest, partial(self._look_up, id_, digest))
        if known.ends_at <= now:
            raise UnauthenticatedError
        self._used[id_] = now
        return known.principal

    def forget(self, id_: str) -> None:
        """Looks a key up again at its next use: it has changed."""
        self._known.forget(lambda known: known.principal.key_id == id_)

    @contextlib.asynccontextmanager
    async def stamping(self) -> AsyncIterator[None]:
        """Writes when keys were last used, each minute and at the end of the block."""
        try:
            async with running(self._stamp_regularly()):
                yield
        finally:
            await self.stamp()

    async def stamp(self) -> None:
        """Writes when keys were last used; if the catalog does not answer, the log says so."""
        times, self._used = self._used, {}
        if not times:
            return
        try:
            await self._keys.used(times)
        except RagError as error:
            self._used = times | self._used
            text, trace = for_log(error)
            _log.warning("When keys were used is not stored yet. %s", text, exc_info=trace)

    async def _stamp_regularly(self) -> None:
        while True:
            await asyncio.sleep(STAMP_SECONDS)
            await self.stamp()

    async def _look_up(self, id_: str, digest: str) -> _Known:
        found = await self._keys.find(id_)
        ends_at = _end_of(found, digest)
        if found is None or ends_at is None:
            raise UnauthenticatedError
        return _Known(found.record.principal(), ends_at)


def _end_of(found: StoredKey | None, digest: str) -> float | None:
    """Returns when the key with this digest ends, by the wall clock; None if it is not valid."""
    current = found.digest if found else _NO_DIGEST
    previous = (found.previous_digest if found else None) or _NO_DIGEST
    is_current = hmac.compare_digest(current, digest)
    is_previous = hmac.compare_digest(previous, digest)
    if found is None or found.record.revoked_at is not None:
        return None
    end = math.inf if found.record.expires_at is None else found.record.expires_at
    if is_current:
        return end
    return min(end, found.record.previous_until or 0.0) if is_previous else None
