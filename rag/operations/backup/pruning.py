"""Removes backups that are too old, and pieces that no backup has."""

from __future__ import annotations

from dataclasses import dataclass

from rag.errors import InputError
from rag.operations.backup import marks
from rag.operations.backup.manifest import MANIFESTS, backup_ids, read_manifest
from rag.operations.backup.object_store import ObjectStore
from rag.operations.backup.pieces import Pieces
from rag.operations.backup.sealing import Seal


@dataclass(frozen=True, slots=True)
class Pruned:
    """The ids of the backups that are left and that were removed, and the number of pieces."""

    kept: list[str]
    removed: list[str]
    pieces: int


def prune(store: ObjectStore, seal: Seal, *, keep: int) -> Pruned:
    """Keeps the newest backups, and removes all others and then the pieces that none needs.

    Every manifest that stays is read first: if one cannot be, nothing is removed.

    Raises:
        InputError: None would be left.
        BusyError: A backup is being made.
    """
    if keep < 1:
        raise InputError("At least one backup is kept.")
    with marks.pruning(store):
        return _prune(store, seal, keep)


def _prune(store: ObjectStore, seal: Seal, keep: int) -> Pruned:
    found = backup_ids(store)
    kept, old = found[-keep:], found[:-keep]
    pieces = Pieces(store, seal)
    needed: set[str] = set()
    for id_ in kept:
        needed |= pieces.names(read_manifest(store, seal, id_))
    store.remove(f"{MANIFESTS}/{id_}.json" for id_ in old)
    store.settle()  # no manifest may outlive its pieces
    unneeded = sorted(pieces.held() - needed)
    store.remove(unneeded)
    return Pruned(kept, old, len(unneeded))
