"""Chooses a replica for a request: by its key, within a bound on the load; no I/O, no clock."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from generation.replicas.ring import Ring

SPREAD = 1.25
"""Load of a replica at which it gets no more by its keys, in the mean of all replicas."""
LIGHT_TOKENS = 4096
"""Load below which a replica is asked for its keys whatever the others' load: an engine reads about
so many tokens of prompts in one step, so a cached prefix is worth more than an idle replica."""
Reason = Literal["affinity", "overflow", "least loaded", "least bad"]


@dataclass(frozen=True, slots=True)
class Choice:
    """A replica by its number, and why it was chosen.

    `affinity`: the key belongs to it. `overflow`: it is the next after the one that the key belongs
    to, which is over the bound or out. `least loaded`: the request has no key, or all are over the
    bound. `least bad`: every replica is out.
    """

    replica: int
    reason: Reason


class Balancer:
    """Loads of the replicas, in tokens, and which of them are in rotation.

    A key goes to the first replica after it on the ring whose load is below `SPREAD` times the mean
    load, the request included, or below `LIGHT_TOKENS`: consistent hashing with bounded loads
    (Mirrokni, Thorup, Zadimoghaddam, SODA 2018). Their balls are all of one size and their bound is
    rounded up. Here a request counts its tokens, and fits if the replica is below the bound without
    it. A load is therefore at most the bound and one request.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._ring = Ring(names)
        self._loads = [0.0] * len(names)
        self._is_in = [True] * len(names)
        self._total = 0.0
        """Load of the replicas in rotation."""
        self._count = len(names)

    def load(self, replica: int) -> float:
        """Returns a replica's load in tokens."""
        return self._loads[replica]

    def is_in(self, replica: int) -> bool:
        """True if a replica is in rotation."""
        return self._is_in[replica]

    def add(self, replica: int, tokens: float) -> None:
        """Adds to a replica's load; a negative number takes away."""
        self._loads[replica] += tokens
        if self._is_in[replica]:
            self._total += tokens

    def put(self, replica: int, *, is_in: bool) -> None:
        """Takes a replica into rotation, or out of it."""
        if self._is_in[replica] != is_in:
            self._is_in[replica] = is_in
            self._count += 1 if is_in else -1
            # Summed anew: a sum that is only added to drifts.
            self._total = sum(
                load for load, each in zip(self._loads, self._is_in, strict=True) if each
            )

    def choose(
        self, key: bytes | None, tokens: float, tried: Collection[int] = ()
    ) -> Choice | None:
        """Returns a replica in rotation that was not tried; None if there is none.

        Args:
            key: requests with the same key should go to the same replica; None: it does not matter.
            tokens: of the request.
            tried: replicas that are not to be chosen.
        """
        if key is not None and self._count:
            bound = max(LIGHT_TOKENS, SPREAD * (self._total + tokens) / self._count)
            reason: Reason = "affinity"
            for node in self._ring.walk(key):
                if self._is_in[node] and node not in tried and self._loads[node] < bound:
                    return Choice(node, reason)
                reason = "overflow"
        left = [node for node, is_in in enumerate(self._is_in) if is_in and node not in tried]
        return Choice(min(left, key=self._loads.__getitem__), "least loaded") if left else None
