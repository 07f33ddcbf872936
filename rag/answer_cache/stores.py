"""Where entries are kept: the interface, and the memory of this process."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol


class AnswerStore(Protocol):
    """Bytes by key, and lists of bytes that grow; both are lost after their time to live."""

    async def get(self, key: str) -> bytes | None:
        """Returns the bytes of a key; None if there are none.

        Raises:
            UpstreamError: The store does not answer.
        """

    async def put(self, key: str, value: bytes) -> None:
        """Keeps bytes under a key, in place of earlier ones.

        Raises:
            UpstreamError: The store does not answer, or is full.
        """

    async def append(self, key: str, item: bytes, *, most: int) -> None:
        """Appends an item to a list, unless it has so many. Raises as `put` does."""

    async def items(self, key: str, *, start: int) -> list[bytes]:
        """Returns the items of a list from this place on. Raises as `get` does."""

    async def close(self) -> None:
        """Closes connections."""


class MemoryStore:
    """`AnswerStore` in this process; past its size, what was not used for longest goes."""

    def __init__(
        self, *, max_bytes: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Makes a store.

        Args:
            max_bytes: The size of all values together.
            seconds: The time to live; that of a list begins with its first item.
            clock: Returns the time in seconds.
        """
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._clock = clock
        self._bytes = 0
        self._values: OrderedDict[str, tuple[float, list[bytes]]] = OrderedDict()

    async def get(self, key: str) -> bytes | None:
        """Returns the bytes of a key; None if there are none."""
        found = self._found(key)
        return found[0] if found else None

    async def put(self, key: str, value: bytes) -> None:
        """Keeps bytes under a key, in place of earlier ones."""
        self._drop(key)
        self._add(key, value)

    async def append(self, key: str, item: bytes, *, most: int) -> None:
        """Appends an item to a list, unless it has so many."""
        if len(self._found(key)) < most:
            self._add(key, item)

    async def items(self, key: str, *, start: int) -> list[bytes]:
        """Returns the items of a list from this place on."""
        return self._found(key)[start:]

    async def close(self) -> None:
        """Does nothing."""

    def _found(self, key: str) -> list[bytes]:
        until, values = self._values.get(key, (0.0, []))
        if not values:
            return []
        if self._clock() >= until:
            self._drop(key)
            return []
        self._values.move_to_end(key)
        return values

    def _add(self, key: str, value: bytes) -> None:
        _, values = self._values.setdefault(key, (self._clock() + self._seconds, []))
        self._values.move_to_end(key)
        values.append(value)
        self._bytes += len(value)
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._values)))

    def _drop(self, key: str) -> None:
        _, values = self._values.pop(key, (0.0, []))
        self._bytes -= sum(map(len, values))
