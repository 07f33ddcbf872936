"""A memo of a function whose results do not change."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

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
