"""Places where the objects of backups are stored: here a folder."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from rag.errors import NotFoundError, StorageError
from rag.operations.backup.thread_memory import ThreadMemory
from rag.process.disk_sync import sync_disk, write_at

_PARTIAL = "partial"
_ABANDONED_SECONDS = 86_400.0
"""Age from which a file that was not renamed is one of a killed process."""


class ObjectStore(Protocol):
    """Named objects, each written at once or not at all. Calls may come from several threads.

    Raises:
        StorageError: The place is full, or an object cannot be read.
        UpstreamError: The place cannot be reached now.
        ConfigError: There is no such place, or it is not allowed.
    """

    def sizes(self, folder: str) -> dict[str, int]:
        """Returns the size in bytes of each object whose name begins with `folder` and a slash."""

    def read(self, name: str) -> memoryview:
        """Returns an object's bytes, which are valid until the thread's next call.

        Raises:
            NotFoundError: There is no object of this name.
        """

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Writes an object, or replaces it."""

    def remove(self, names: Iterable[str]) -> None:
        """Removes objects; unknown names are ignored."""

    def settle(self) -> None:
        """Returns once a power cut loses nothing that was written before."""


class FolderStore:
    """Objects as files below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._memory = ThreadMemory()

    def sizes(self, folder: str) -> dict[str, int]:
        """Returns the sizes of the files below a folder; none if there is no such folder."""
        top = self._folder / folder
        with self._errors():
            return {
                f"{folder}/{path.relative_to(top).as_posix()}": path.stat().st_size
                for path in top.rglob("*")
                if path.is_file()
            }

    def read(self, name: str) -> memoryview:
        """Returns a file's bytes."""
        with self._errors():
            try:
                with (self._folder / name).open("rb") as file:
                    room = self._memory.take(os.fstat(file.fileno()).st_size)
                    return room[: file.readinto(room)]
            except FileNotFoundError:
                raise NotFoundError(f"The backups have no object {name}.") from None

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Writes a file of another name first, and renames it."""
        place = self._folder / name
        part = self._folder / _PARTIAL / uuid.uuid4().hex
        with self._errors():
            for folder in (part.parent, place.parent):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                opened = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o600)
                try:
                    write_at(opened, data)
                finally:
                    os.close(opened)
                part.rename(place)
            except OSError:
                part.unlink(missing_ok=True)
                raise

    def remove(self, names: Iterable[str]) -> None:
        """Removes files, and those that killed processes left half written."""
        with self._errors():
            for name in names:
                (self._folder / name).unlink(missing_ok=True)
            for part in (self._folder / _PARTIAL).glob("*"):
                if time.time() - part.stat().st_mtime > _ABANDONED_SECONDS:
                    part.unlink(missing_ok=True)

    def settle(self) -> None:
        """Has the kernel write the disk of the folder: one call for any number of files."""
        with self._errors():
            sync_disk(self._folder)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"The folder of the backups cannot be used: {error.strerror}.",
                detail=f"It is {self._folder}.",
            ) from error
