"""Memos of functions whose results do not change."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Memo(dict[K, V]):
    """The results of a function, by argument; emptied when it holds `most`.

    A known result is found without a Python call, as `memo[argument]`: `functools.lru_cache` takes
    twice as long, and that counts where a question looks up hundreds.
    """

    def __init__(self, function: Callable[[K], V], *, most: int) -> None:
        super().__init__()
        self._function = function
        self._most = most

    def __missing__(self, argument: K) -> V:
        """Computes a result and keeps it."""
        if len(self) >= self._most:
            self.clear()
        result = self[argument] = self._function(argument)
        return result


class TextMemo(Generic[V]):
    """The results of a function of texts, by the texts' digests; emptied when it holds `most`.

    It holds no text: one that is deleted from the index does not stay in memory here.
    """

    def __init__(self, function: Callable[[str], V], *, most: int) -> None:
        self._function = function
        self._most = most
        self._results: dict[bytes, V] = {}

    def of(self, text: str) -> V:
        """Returns the result for a text."""
        key = blake2b(text.encode(), digest_size=16).digest()
        if key not in self._results:
            if len(self._results) >= self._most:
                self._results.clear()
            self._results[key] = self._function(text)
        return self._results[key]
