"""How much may be under way at once: what could not be done in time is refused early."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rag.errors import BusyError


class Admission:
    """A bound on something that is taken and given back."""

    def __init__(self, most: int, *, refusal: str) -> None:
        """Make a bound.

        Args:
            most: how much may be taken at once.
            refusal: what to say past it; names the setting.
        """
        self._most = most
        self._refusal = refusal
        self._taken = 0

    @contextlib.contextmanager
    def take(self, amount: int = 1) -> Iterator[None]:
        """Holds `amount` while it is open; more than all of it has it to itself.

        Raises:
            BusyError: Too much is taken already.
        """
        if self._taken and self._taken + amount > self._most:
            raise BusyError(self._refusal)
        self._taken += amount
        try:
            yield
        finally:
            self._taken -= amount
