"""What was read from a shard last: decoding a point takes longer than finding it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from rag.types.acl import Readers

V = TypeVar("V")
MOST = 8_192
"""Values held of all shards together: 4,096 chunks with their vectors take 16 MB if texts have
2,000 characters."""


class Read(NamedTuple, Generic[V]):
    """A value of a point, with the words of those who may read the point."""

    chunk_id: str
    acl: Readers
    value: V


class Recent(Generic[V]):
    """Values of points by chunk id, read from the shard if they are not held.

    A shard belongs to one process, which calls `clear` with every change of a point: what is held
    is what the shard would return. All together hold `MOST` values; those that were read first go
    first.
    """

    _held: ClassVar[dict[tuple[int, str], Read[Any]]] = {}
    _numbers: ClassVar[Iterator[int]] = count()

    def __init__(self, read: Callable[[Sequence[str]], Iterable[Read[V]]]) -> None:
        """Takes what reads the values of points, and leaves out unknown ids."""
        self._read = read
        self._number = next(self._numbers)
        self._is_empty = True

    def of(self, chunk_ids: Sequence[str], readers: Readers | None) -> dict[str, V]:
        """Returns values by id, in the order of the ids.

        Unknown points, and those that the readers may not read, are left out.
        """
        held, number = self._held, self._number
        found: dict[str, Read[V]] = {i: held[number, i] for i in chunk_ids if (number, i) in held}
        if len(found) < len(chunk_ids):
            self._is_empty = False
            for read in self._read([i for i in chunk_ids if i not in found]):
                found[read.chunk_id] = held[number, read.chunk_id] = read
            while len(held) > MOST:
                del held[next(iter(held))]
        return {
            i: found[i].value
            for i in chunk_ids
            if i in found and (readers is None or not readers.isdisjoint(found[i].acl))
        }

    def clear(self) -> None:
        """Forgets the values of this shard."""
        if not self._is_empty:
            for key in [key for key in self._held if key[0] == self._number]:
                del self._held[key]
            self._is_empty = True
