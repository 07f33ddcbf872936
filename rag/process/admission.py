"""Admission control: refuses work early that could not be done in time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rag.errors import BusyError


class Admission:
    """A bound on an amount that is taken and released."""

    def __init__(self, most: int, *, refusal: str) -> None:
        """Makes a bound.

        Args:
            most: the amount that may be taken at once.
            refusal: message of the error beyond it; names the setting.
        """
        self._most = most
        self._refusal = refusal
        self._taken = 0

    @contextlib.contextmanager
    def take(self, amount: int = 1) -> Iterator[None]:
        """Takes `amount` during the block; an amount over the bound is taken only alone.

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
