"""Handles folders of mostly empty files: Qdrant Edge reserves 32 MB at a time to fill later."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from rag.errors import InputError, StorageError

MIN_FREE = 128 << 20
"""Bytes of free disk space that a write must leave. The index writes through memory maps: on a full
disk the kernel sends a fatal signal, and no error can be reported."""
_PIECE = 1 << 20


def check_room(folder: Path, *, needed: int = 0) -> None:
    """Raises StorageError if `folder`'s disk has less than `needed` plus `MIN_FREE` bytes free."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(there).free
    if free < needed + MIN_FREE:
        raise StorageError(
            f"The disk is full: it has {free >> 20:,} MiB left, and"
            f" {(needed + MIN_FREE) >> 20:,} MiB are needed. Free some space and run it again; what"
            " was stored before is kept.",
            code="disk_full",
            detail=f"It is the disk of {folder}.",
        )


def size_of(folder: Path) -> int:
    """Returns the bytes that the files of a folder take on disk, without holes."""
    return sum(f.stat().st_blocks * 512 for f in folder.rglob("*"))


def copy_tree(source: Path, target: Path) -> None:
    """Copies a folder; holes stay holes, so that the copy takes no more space than the original."""
    shutil.copytree(source, target, copy_function=_copy_data)


def _copy_data(source: str, target: str) -> None:
    with Path(source).open("rb") as old, Path(target).open("wb") as new:
        size = os.fstat(old.fileno()).st_size
        new.truncate(size)
        at = 0
        while at < size:
            try:
                start = os.lseek(old.fileno(), at, os.SEEK_DATA)
            except OSError:  # nothing but a hole is left
                return
            at = os.lseek(old.fileno(), start, os.SEEK_HOLE)
            while start < at:
                piece = os.pread(old.fileno(), min(at - start, _PIECE), start)
                start += os.pwrite(new.fileno(), piece, start)


@contextlib.contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Converts the bare `Exception`s of Qdrant Edge to StorageErrors that say what to do."""
    try:
        yield
    except (InputError, StorageError):
        raise
    except Exception as error:
        if "os error 12" in str(error):
            raise StorageError(
                "The system refuses the index more memory, or more memory maps. Raise"
                " `vm.max_map_count`, or let fewer collections be used at the same time.",
                detail=f"{folder}: {error}.",
            ) from error
        full = "No space left" in str(error) or "os error 28" in str(error)
        raise StorageError(
            "The disk is full: the index cannot be written. Free some space and run it again; what"
            " was stored before is kept."
            if full
            else "The index cannot be used. If its folder was damaged, restore it from a backup, or"
            " delete the collection's folder and ingest again.",
            code="disk_full" if full else "storage",
            detail=f"It lies in {folder}: {error}.",
        ) from error
