"""Remembers for seconds what the catalog says of a credential."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")
CACHE_SECONDS = 5.0
"""Seconds for which a credential is not looked up again: a change elsewhere takes that long."""
CACHED = 10_000
"""Most credentials that are remembered."""


class CredentialCache(Generic[T]):
    """Findings by the digests of credentials. It has no credentials."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[T, float]] = OrderedDict()
        """With each finding the time by the monotonic clock at which it is looked up again."""
        self._changes = 0

    def __len__(self) -> int:
        return len(self._known)

    async def get(self, digest: str, find: Callable[[], Awaitable[T]]) -> T:
        """Returns the finding of a credential; what `find` raises is not remembered."""
        known = self._known.get(digest)
        if known is not None and known[1] >= time.monotonic():
            return known[0]
        self._known.pop(digest, None)
        changes = self._changes
        found = await find()
        if changes == self._changes:  # otherwise it may have been read before a change
            self._known[digest] = found, time.monotonic() + CACHE_SECONDS
            if len(self._known) > CACHED:
                self._known.popitem(last=False)
        return found

    def forget(self, which: Callable[[T], bool]) -> None:
        """Looks up again those whose findings fulfil a condition: they have changed."""
        self._changes += 1
        for digest in [digest for digest, (found, _) in self._known.items() if which(found)]:
            del self._known[digest]
