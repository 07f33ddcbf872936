"""Remembers the keys of an issuer, and fetches them again when they change."""

from __future__ import annotations

import asyncio
import logging
import math
from time import monotonic

from jwt import PyJWK

from rag.errors import UpstreamError
from rag.gateway.jwks import Keys
from rag.gateway.key_source import KeySource

PAUSE_SECONDS = 10.0
"""Seconds between two fetches: tokens with invented key ids cause no more."""
_log = logging.getLogger(__name__)


class SigningKeys:
    """The keys of one issuer. They are fetched by one task at a time, however many wait for it."""

    def __init__(
        self,
        source: KeySource,
        *,
        refresh_seconds: float,
        outage_seconds: float,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        """Takes the age at which keys are fetched again, and the age at which they end."""
        self._source = source
        self._refresh = refresh_seconds
        self._outage = outage_seconds
        self._pause = pause_seconds
        self._keys: Keys = {}
        self._fetched_at = -math.inf
        self._next_at = -math.inf
        self._fetching: asyncio.Task[None] | None = None
        self._failed = False

    async def find(self, kid: str, algorithm: str) -> PyJWK | None:
        """Returns the key for an algorithm; None if the issuer has none by that `kid`.

        A known key is returned at once, and if it is old, keys are fetched meanwhile. For an
        unknown one, keys are fetched first, unless that was just done.

        Raises:
            UpstreamError: The issuer does not answer, and the key is unknown or too old.
        """
        if self._age() > self._refresh or kid not in self._keys:
            fetching = self._start()
            if fetching and not self._has(kid):
                await asyncio.shield(fetching)  # whoever hangs up does not end it for the others
        if self._has(kid):
            return self._keys[kid].get(algorithm)
        if self._failed:
            raise UpstreamError(
                "The token cannot be checked: the keys of its issuer cannot be fetched now.",
                code="issuer_unavailable",
                retry_after=math.ceil(self._pause),
            )
        return None

    async def close(self) -> None:
        """Ends a fetch that is under way."""
        if self._fetching:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    def _age(self) -> float:
        return monotonic() - self._fetched_at

    def _has(self, kid: str) -> bool:
        return kid in self._keys and self._age() <= self._outage

    def _start(self) -> asyncio.Task[None] | None:
        """Returns the fetch under way, begun now if none is; None soon after the last one."""
        if self._fetching is None and monotonic() >= self._next_at:
            self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    async def _fetch(self) -> None:
        try:
            self._keys = await self._source.fetch()
            self._fetched_at = monotonic()
            self._failed = False
        except UpstreamError as error:
            self._failed = True
            _log.warning("%s", error.in_full())
        finally:
            self._next_at = monotonic() + self._pause
            self._fetching = None
