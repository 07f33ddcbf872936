"""Marks at the place of the backups: no backup is made while others are removed.

Both sides write their mark first and then look for the other's, so at least one sees the other.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rag.errors import BusyError
from rag.operations.backup.object_store import ObjectStore

_MAKING, _PRUNING = "making", "pruning"
_ABANDONED_SECONDS = {_MAKING: 86_400.0, _PRUNING: 3_600.0}
"""Age from which a mark is one of a killed process."""


@contextlib.contextmanager
def making(store: ObjectStore, id_: str) -> Iterator[None]:
    """Marks that a backup is made during the block.

    Raises:
        BusyError: Backups are being removed.
    """
    with _marked(store, _MAKING, id_, other=_PRUNING, does="Old backups are being removed"):
        yield


@contextlib.contextmanager
def pruning(store: ObjectStore) -> Iterator[None]:
    """Marks that backups are removed during the block.

    Raises:
        BusyError: A backup is being made.
    """
    with _marked(store, _PRUNING, "all", other=_MAKING, does="A backup is being made"):
        yield


@contextlib.contextmanager
def _marked(store: ObjectStore, folder: str, name: str, *, other: str, does: str) -> Iterator[None]:
    mark = f"{folder}/{name}"
    store.write(mark, str(time.time()).encode())
    try:
        for found in store.sizes(other):
            if time.time() - float(bytes(store.read(found))) < _ABANDONED_SECONDS[other]:
                raise BusyError(
                    f"{does} at the place of the backups: wait until it ends. If it was killed,"
                    f" remove the object {found}.",
                    code="backups_busy",
                )
        yield
    finally:
        store.remove([mark])
