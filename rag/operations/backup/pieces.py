"""Pieces of files: read, stored once by their content, and written back."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from rag.errors import NotFoundError, StorageError
from rag.operations.backup.manifest import PIECE, Manifest, Piece, StoredFile
from rag.operations.backup.object_store import ObjectStore
from rag.operations.backup.sealing import Seal
from rag.operations.backup.thread_memory import ThreadMemory
from rag.process.disk_sync import write_at

OBJECTS = "objects"
THREADS = 4
"""Pieces at once: each hashes and copies without the interpreter lock, or waits for the store."""
_AHEAD = 64
"""Pieces that are begun before the result of an earlier one is taken."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Pieces:
    """The pieces in a store; each is written once.

    The store is listed once, when the list is needed first. A piece of the same name and size is
    taken for the same; its content is not read. `stop` ends what is under way.
    """

    def __init__(self, store: ObjectStore, seal: Seal, stop: threading.Event | None = None) -> None:
        self._store = store
        self._seal = seal
        self._stop = stop or threading.Event()
        self._memory = ThreadMemory()
        self._lock = threading.Lock()
        self.written = self.reused = 0
        """Bytes that were new, and bytes that an earlier backup, or another file, had stored."""

    @cached_property
    def _held(self) -> dict[str, int]:
        return self._store.sizes(OBJECTS)

    def store(self, files: Mapping[str, Path]) -> list[StoredFile]:
        """Stores files, by their paths in the backup; they must not change meanwhile.

        Raises:
            StorageError: A file cannot be read, or the store is full.
            CancelledError: It was stopped.
        """
        sizes = {name: path.stat().st_size for name, path in files.items()}
        parts = (
            (files[name], at, size) for name, size in sizes.items() for at in range(0, size, PIECE)
        )
        stored = self._threaded(self._store_piece, parts)
        return [
            StoredFile(
                path=name,
                size=size,
                pieces=tuple(each for _ in range(0, size, PIECE) if (each := next(stored))),
            )
            for name, size in sizes.items()
        ]

    def missing(self, manifest: Manifest) -> list[str]:
        """Returns the files of a backup with a piece that is not stored, or has another size."""
        more = self._seal.overhead
        return [
            file.path
            for file in manifest.files
            if any(self._held.get(self._name(p.sha256)) != p.size + more for p in file.pieces)
        ]

    def names(self, manifest: Manifest) -> set[str]:
        """Returns the names of all objects of a backup."""
        return {self._name(piece.sha256) for file in manifest.files for piece in file.pieces}

    def held(self) -> set[str]:
        """Returns the names of all stored objects."""
        return set(self._held)

    def write(self, manifest: Manifest, folder: Path) -> None:
        """Writes the files of a backup into an empty folder, each piece checked.

        Raises:
            StorageError: A piece is missing or was changed, or the disk is full.
            CancelledError: It was stopped.
        """
        for file in manifest.files:
            _create(folder / file.path, file.size)
        parts = (
            (file.path, piece, folder / file.path)
            for file in manifest.files
            for piece in file.pieces
        )
        for _ in self._threaded(self._write_piece, parts):
            """All are awaited; the first that fails raises."""

    def check(self, manifest: Manifest) -> None:
        """Reads and checks every piece of a backup; raises StorageError as `write` does."""
        parts = ((file.path, piece) for file in manifest.files for piece in file.pieces)
        for _ in self._threaded(self._check_piece, parts):
            """All are awaited; the first that fails raises."""

    def _name(self, digest: str) -> str:
        name = self._seal.name(digest)
        return f"{OBJECTS}/{name[:2]}/{name}"

    def _store_piece(self, part: tuple[Path, int, int]) -> Piece | None:
        at, data = self._read(*part)
        if not data:
            return None
        digest = hashlib.sha256(data).hexdigest()
        name, size = self._name(digest), len(data) + self._seal.overhead
        with self._lock:
            is_new = self._held.get(name) != size
            self._held[name] = size  # equal pieces of other threads are not written again
            self.written += len(data) * is_new
            self.reused += len(data) * (not is_new)
        if is_new:
            self._store.write(name, self._seal.seal(name, data))
        return Piece(at=at, size=len(data), sha256=digest)

    def _write_piece(self, part: tuple[str, Piece, Path]) -> None:
        of, piece, path = part
        data = self._read_piece(of, piece)
        try:
            with path.open("rb+", buffering=0) as opened:
                write_at(opened.fileno(), data, piece.at)
        except OSError as error:
            raise _disk(error, path) from error

    def _check_piece(self, part: tuple[str, Piece]) -> None:
        self._read_piece(*part)

    def _read_piece(self, of: str, piece: Piece) -> bytes | memoryview:
        name = self._name(piece.sha256)
        try:
            data = self._seal.unseal(name, self._store.read(name))
        except NotFoundError as error:
            raise damaged(f"a piece of {of} is missing", name) from error
        if len(data) != piece.size or hashlib.sha256(data).hexdigest() != piece.sha256:
            raise damaged(f"a piece of {of} was changed, or cut short", name)
        return data

    def _read(self, path: Path, at: int, whole: int) -> tuple[int, memoryview]:
        """Returns a piece of a file of so many bytes, and where it begins: no byte if it is a hole.

        Holes at both its ends are left out: Qdrant Edge reserves 32 MB at a time.
        """
        end = min(at + PIECE, whole)
        try:
            with path.open("rb", buffering=0) as file:
                if os.fstat(file.fileno()).st_size != whole:
                    raise StorageError(f"{path} was changed while it was copied: run it again.")
                start, end = _filled(file.fileno(), at, end)
                data = self._memory.take(end - start)
                if os.preadv(file.fileno(), [data], start) < len(data):
                    raise StorageError(f"{path} was cut short while it was copied: run it again.")
                return start, data
        except OSError as error:
            raise StorageError(f"{path} cannot be read: {error.strerror}.") from error

    def _threaded(
        self, work: Callable[[_Item], _Result], items: Iterable[_Item]
    ) -> Iterator[_Result]:
        """Yields the results in order; items are taken as threads become free."""
        waiting: list[Future[_Result]] = []
        with ThreadPoolExecutor(THREADS, "backup") as threads:
            try:
                for item in items:
                    waiting.append(threads.submit(self._unless_stopped, work, item))
                    if len(waiting) >= _AHEAD:
                        yield waiting.pop(0).result()
                while waiting:
                    yield waiting.pop(0).result()
            finally:
                for each in waiting:
                    each.cancel()

    def _unless_stopped(self, work: Callable[[_Item], _Result], item: _Item) -> _Result:
        if self._stop.is_set():
            raise CancelledError
        return work(item)


def damaged(why: str, name: str = "") -> StorageError:
    """Returns the error of a backup that cannot be restored; `name` is that of the object."""
    return StorageError(
        f"The backup is damaged: {why}. Restore another one; nothing was changed.",
        code="backup_damaged",
        detail=f"The object is {name}. Remove it: the next backup stores it again." if name else "",
    )


def _filled(file: int, at: int, end: int) -> tuple[int, int]:
    """Returns the beginning of the first data of a part of a file, and the end of its last."""
    first, last = end, end
    while at < end:
        try:
            at = os.lseek(file, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break  # nothing but a hole is left
        if at < end:
            first = min(first, at)
            last = at = min(end, os.lseek(file, at, os.SEEK_HOLE))
    return first, max(first, last)


def _create(path: Path, size: int) -> None:
    """Makes a file of zeros, and the folders above it; what is there already is an error."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=False)  # the folder is new, and has no links
        os.truncate(path, size)
    except OSError as error:
        raise _disk(error, path) from error


def _disk(error: OSError, path: Path) -> StorageError:
    return StorageError(f"{path} cannot be written: {error.strerror}.", code="disk_full")
