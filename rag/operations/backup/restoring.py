"""Writes a backup into a data folder that is missing or empty.

A missing one is written under another name and renamed, in one step. One that is there, which may
be the mount of a volume, has the file `restoring` until all of it, and of the servers, is written:
no process opens it meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import ConfigError, StorageError
from rag.process.atomic_write import write_atomically
from rag.process.disk_sync import sync_disk
from rag.process.private_folder import CATALOG
from retrieval.indexes.sparse_files import check_room

if TYPE_CHECKING:  # not at run time: every command looks for an unfinished restore
    from rag.operations.backup.manifest import Manifest
    from rag.operations.backup.pieces import Pieces

_UNFINISHED = "restoring"
"""The mark; its text is the id of a backup once nothing but the rows of a server is missing."""
_LISTED = 3


def refuse_unfinished(data: Path) -> None:
    """Raises ConfigError if the restore of a data folder was cut short."""
    if is_unfinished(data):
        raise ConfigError(
            f"The data folder {data} is being restored, or that was cut short: run `rag restore`"
            " again, which finishes it or begins anew.",
            code="restore_unfinished",
        )


def is_unfinished(data: Path) -> bool:
    """Returns True if the restore of a data folder was cut short."""
    return (data / _UNFINISHED).exists()


def check_target(data: Path) -> None:
    """Raises ConfigError unless a data folder is missing, empty, or of an unfinished restore."""
    try:
        held = list(data.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"{data} cannot be used: {error.strerror}.") from error
    if held and not is_unfinished(data):
        raise ConfigError(
            f"The data folder {data} is not empty, and a backup replaces nothing: name a new one"
            " with RAG_DATA_DIR, or move this one away.",
            code="not_empty",
        )


def check_backup(manifest: Manifest, pieces: Pieces, beside: Path) -> None:
    """Raises StorageError if pieces are missing, or the disk of `beside` has no room for them."""
    from rag.operations.backup.pieces import damaged

    if missing := pieces.missing(manifest):
        raise damaged(
            f"pieces of {len(missing):,} files are missing or cut short:"
            f" {', '.join(missing[:_LISTED])}"
        )
    check_room(beside, needed=manifest.bytes)


@contextlib.contextmanager
def new_folder(data: Path, *, within: bool) -> Iterator[Path]:
    """Yields a new folder beside `data`, or within it, and removes what is left of it at the end.

    What an earlier call that was killed has left there is removed, too.

    Raises:
        StorageError: The folder above cannot be written.
    """
    above, prefix = (data, ".restored-") if within else (data.parent, f".{data.name}.restored-")
    try:
        above.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in above.glob(f"{prefix}*"):
            shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=above))
    except OSError as error:
        raise StorageError(
            f"{above} cannot be written: {error.strerror}.", code="disk_full"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def unpack(manifest: Manifest, pieces: Pieces, folder: Path) -> None:
    """Writes the files of a backup into an empty folder, and waits until they are on the disk.

    Raises:
        StorageError: The backup is damaged, or the disk is full.
        CancelledError: It was stopped.
    """
    pieces.write(manifest, folder)
    sync_disk(folder)


def begin(data: Path) -> None:
    """Marks a data folder as unfinished, and removes what an unfinished restore has left in it."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    (data / _UNFINISHED).touch()
    _sync(data)
    _clear(data)


def give_up(data: Path) -> None:
    """Empties a data folder whose restore failed."""
    _clear(data)
    (data / _UNFINISHED).unlink(missing_ok=True)


def move_in(folder: Path, data: Path) -> None:
    """Moves everything of a folder within a data folder into that, the catalog last."""
    for place in sorted(folder.iterdir(), key=lambda path: path.name == CATALOG):
        place.rename(data / place.name)
    _sync(data)


def note_files_written(data: Path, id_: str) -> None:
    """Notes that all of a backup is in place but the rows of a server."""
    write_atomically(data / _UNFINISHED, id_)
    sync_disk(data)


def written_backup(data: Path) -> str | None:
    """Returns the id that `note_files_written` has noted, if the restore was cut short then."""
    try:
        return (data / _UNFINISHED).read_text("utf-8") or None
    except FileNotFoundError:
        return None


def finish(data: Path) -> None:
    """Removes the mark: the data folder is whole."""
    (data / _UNFINISHED).unlink()
    _sync(data)


def put_in_place(folder: Path, data: Path) -> None:
    """Renames a folder to its final name, in one step."""
    folder.rename(data)
    _sync(data.parent)


def _clear(data: Path) -> None:
    for left in data.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        elif left.name != _UNFINISHED:
            left.unlink()


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
