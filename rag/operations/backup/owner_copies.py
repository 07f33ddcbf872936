"""Files by which a backup asks the process that owns a data folder for a copy.

`backup/lock` is locked by whoever makes a backup. It writes a token to `backup/request`; the owner
removes that, copies the data to `backup/part-TOKEN`, and renames it to `backup/copy-TOKEN`, or
writes `backup/error-TOKEN`. Nobody but the owner removes a part: it may be at work on it for one
who was killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

from rag.errors import BusyError, ConfigError, RagError, StorageError, UpstreamError, for_log
from rag.process.background import running
from rag.process.folder_lock import is_owned
from rag.process.private_folder import BACKUP, make_private

LOOK_SECONDS = 0.5
"""Seconds between two looks for a request, and for its answer."""
BEGIN_SECONDS = 30.0
"""Seconds within which an owner begins to copy."""
_LOCK, _REQUEST, _PART, _COPY, _ERROR = "lock", "request", "part-", "copy-", "error-"
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def locked_folder(data: Path) -> Iterator[Path]:
    """Yields a folder for the copy of a data folder, which one backup has at a time.

    It is emptied at the end of the block.

    Raises:
        BusyError: Another backup of the data folder is being made.
        ConfigError: The data folder cannot be written.
    """
    folder = data / BACKUP
    try:
        make_private(folder)
        lock = (folder / _LOCK).open("a")
    except OSError as error:
        raise ConfigError(f"The data folder {data} cannot be used: {error.strerror}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(
                "Another backup of this data folder is being made: wait until it ends.",
                code="backup_running",
            ) from None
        _empty(folder, parts=not is_owned(data))
        try:
            yield folder
        finally:
            _empty(folder)


async def copy_of_owner(data: Path, folder: Path) -> Path:
    """Returns the copy of a data folder that its owner makes; `folder` is that of `locked_folder`.

    Raises:
        UpstreamError: The owner does not begin within `BEGIN_SECONDS`, or has ended meanwhile.
        StorageError: It cannot copy the data.
    """
    token, request = uuid.uuid4().hex, folder / _REQUEST
    written = folder / f"{_REQUEST}.{token}"
    written.write_text(token)
    written.rename(request)
    copy, failed = folder / f"{_COPY}{token}", folder / f"{_ERROR}{token}"
    latest = time.monotonic() + BEGIN_SECONDS
    while not copy.is_dir():
        if failed.exists():
            raise StorageError(failed.read_text() or "The disk of the data folder is full.")
        if request.exists() and time.monotonic() > latest:
            raise UpstreamError(
                f"The process that owns the data folder has not begun to copy it within"
                f" {BEGIN_SECONDS:g} s: it may be of an older version, or start just now. Run it"
                " again, or stop that process first.",
                code="owner_silent",
            )
        if not is_owned(data):
            raise UpstreamError(
                "The process that owned the data folder has ended: run it again.", code="owner_gone"
            )
        await asyncio.sleep(LOOK_SECONDS / 5)
    return copy


@contextlib.asynccontextmanager
async def copying_on_request(
    data: Path, copy: Callable[[Path], Awaitable[None]]
) -> AsyncIterator[None]:
    """During the block, calls `copy` with a new folder for each request."""

    async def look() -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            folder = data / BACKUP
            if (folder / _REQUEST).exists():
                await _answer(folder, copy)
            elif any(folder.glob(f"{_COPY}*")):
                await _tidy(folder)

    async with running(look()):
        yield


async def _tidy(folder: Path) -> None:
    """Removes a copy if the process that asked for it was killed."""
    try:
        if not _is_locked(folder / _LOCK):
            await asyncio.to_thread(_empty, folder)
    except OSError as error:
        _log.error("A copy for a backup cannot be removed: %s.", error.strerror)


async def _answer(folder: Path, copy: Callable[[Path], Awaitable[None]]) -> None:
    token = ""
    try:
        token = (folder / _REQUEST).read_text()
        (folder / _REQUEST).unlink(missing_ok=True)
        if not _is_locked(folder / _LOCK):  # whoever asked was killed
            return
        await asyncio.to_thread(_empty_of_parts, folder)
        part = folder / f"{_PART}{token}"
        part.mkdir(mode=0o700)
        await copy(part)
        part.rename(folder / f"{_COPY}{token}")
    except Exception as error:  # noqa: BLE001 - later requests need this loop
        message, bug = for_log(error)
        _log.error("The data folder was not copied for a backup: %s", message, exc_info=bug)
        told = error.in_full() if isinstance(error, RagError) else f"{type(error).__name__}."
        await asyncio.to_thread(_empty_of_parts, folder)  # which may make room for the message
        with contextlib.suppress(OSError):  # the folder is gone, with whoever asked
            (folder / f"{_ERROR}{token}").write_text(told)


def _is_locked(file: Path) -> bool:
    try:
        with file.open("a") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _empty(folder: Path, *, parts: bool = False) -> None:
    """Removes all but the lock, which must stay one file for all, and but for `parts` the parts."""
    for path in folder.iterdir():
        if path.name.startswith(_PART) and not parts:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != _LOCK:
            path.unlink(missing_ok=True)


def _empty_of_parts(folder: Path) -> None:
    for part in folder.glob(f"{_PART}*"):
        shutil.rmtree(part, ignore_errors=True)
