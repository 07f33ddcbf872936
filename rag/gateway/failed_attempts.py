"""Limits wrong credentials by the address that they come from."""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TypeVar

from rag.errors import RateLimitedError, TokenExpiredError, UnauthenticatedError

K = TypeVar("K")
V = TypeVar("V")
REMEMBERED = 10_000
"""Addresses, and good credentials, that are remembered; the longest unused are forgotten first."""
_SITE_BITS = 64
"""An IPv6 network that one customer gets: its addresses count as one."""
_ADDRESS_CHARS = 64


class FailedAttempts:
    """A token bucket of wrong credentials for each address.

    A credential that was good before passes an empty bucket: many callers may share one address,
    and a wrong key of one must not shut the others out. Only failures are counted, when they are
    known: many good credentials may come at once.
    """

    def __init__(self, *, per_minute: int) -> None:
        self._most = float(per_minute)
        self._rate = per_minute / 60
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._good: OrderedDict[bytes, None] = OrderedDict()

    @contextlib.contextmanager
    def attempt(self, credential: str, address: str) -> Iterator[None]:
        """Counts the block as a failure of the address if it raises an UnauthenticatedError.

        Raises:
            RateLimitedError: Too many have failed, and the credential was not good before.
        """
        digest = hashlib.sha256(credential.encode()).digest()
        if digest in self._good:
            try:
                yield
            except UnauthenticatedError:
                self._good.pop(digest, None)
                raise
            return
        source = _source(address)
        self._check(source)
        try:
            yield
        except UnauthenticatedError:
            self._take(source)
            raise
        _put(self._good, digest, None)

    @contextlib.contextmanager
    def attempt_by_token(self, address: str) -> Iterator[None]:
        """Counts the block as `attempt` does, and always enters it: good tokens always pass.

        Users whose tokens are renewed every few minutes may share an address. To check a token is
        cheap, and a signature cannot be guessed. An expired token counts for nothing.

        Raises:
            RateLimitedError: The token is not valid, as too many before it.
        """
        try:
            yield
        except TokenExpiredError:
            raise
        except UnauthenticatedError:
            source = _source(address)
            self._check(source)
            self._take(source)
            raise

    def _check(self, source: str) -> None:
        if (left := self._tokens(source)) < 1:
            wait = math.ceil((1 - left) / self._rate)
            raise RateLimitedError(
                "Too many wrong keys or tokens came from this address. Try again in"
                f" {wait} seconds.",
                retry_after=wait,
                code="too_many_failures",
            )

    def _take(self, source: str) -> None:
        _put(self._left, source, (max(0.0, self._tokens(source) - 1), time.monotonic()))

    def _tokens(self, source: str) -> float:
        now = time.monotonic()
        left, at = self._left.get(source, (self._most, now))
        return min(self._most, left + (now - at) * self._rate)


def _put(known: OrderedDict[K, V], key: K, value: V) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > REMEMBERED:
        known.popitem(last=False)


def _source(address: str) -> str:
    """Returns the address, or the network of an IPv6 address; other text as it is, cut short."""
    try:
        found = ip_address(address)
    except ValueError:
        return address[:_ADDRESS_CHARS]
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(ip_network((found, _SITE_BITS), strict=False))
    return str(found)
