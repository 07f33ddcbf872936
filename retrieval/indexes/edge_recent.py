"""What was read from a shard last: decoding a point takes longer than finding it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

from rag.types.acl import Readers

V = TypeVar("V")


class Read(NamedTuple, Generic[V]):
    """A value of a point, with the words of those who may read the point."""

    chunk_id: str
    acl: Readers
    value: V


class Recent(Generic[V]):
    """Values of points by chunk id, read from the shard if they are not held.

    A shard belongs to one process, which calls `clear` with every change of a point: what is held
    is what the shard would return.
    """

    def __init__(self, read: Callable[[Sequence[str]], Iterable[Read[V]]], *, most: int) -> None:
        """Holds nothing yet.

        Args:
            read: Reads the values of points; unknown ids are left out.
            most: Values held; those that were read first go first.
        """
        self._read = read
        self._most = most
        self._held: dict[str, Read[V]] = {}

    def of(self, chunk_ids: Sequence[str], readers: Readers | None) -> dict[str, V]:
        """Returns values by id, in the order of the ids.

        Unknown points, and those that the readers may not read, are left out.
        """
        held = self._held
        found = {i: held[i] for i in chunk_ids if i in held}
        if len(found) < len(chunk_ids):
            for read in self._read([i for i in chunk_ids if i not in found]):
                found[read.chunk_id] = held[read.chunk_id] = read
            while len(held) > self._most:
                del held[next(iter(held))]
        return {
            i: found[i].value
            for i in chunk_ids
            if i in found and (readers is None or not readers.isdisjoint(found[i].acl))
        }

    def clear(self) -> None:
        """Forgets everything."""
        self._held.clear()
