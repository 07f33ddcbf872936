"""A lock for one owner of a data folder; other processes get its id and how to reach it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rag.errors import ConfigError, StorageError

LOCK = "lock"


@contextlib.contextmanager
def own(folder: Path) -> Iterator[Callable[[str], None]]:
    """Locks `folder` until the end of the block; the kernel releases it if the process dies.

    Yields:
        A function that publishes, for other processes, the URL at which this one serves the folder.

    Raises:
        ConfigError: Another process owns it (code `data_folder_in_use`), or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a+")
    except OSError as error:
        raise ConfigError(
            f"The data folder {folder} cannot be used: {error.strerror}. Choose another with"
            " RAG_DATA_DIR, or mend its permissions."
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(_in_use(folder), code="data_folder_in_use") from None
        _describe(folder, url=None)
        yield lambda url: _describe(folder, url=url)


def owner_url(folder: Path) -> str | None:
    """Returns the URL at which the owner of a folder serves it; None if there is none."""
    url: str | None = _owner(folder)[1]
    return url if is_owned(folder) else None


def is_owned(folder: Path) -> bool:
    """Returns True while a process owns a folder. Nothing is written for the look."""
    try:
        with (folder / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # nobody has ever owned it
        return False
    return False


def _describe(folder: Path, *, url: str | None) -> None:
    try:
        (folder / f"{LOCK}.json").write_text(json.dumps({"pid": os.getpid(), "url": url}))
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror}.") from error


def _in_use(folder: Path) -> str:
    pid, url = _owner(folder)
    message = f"The data folder {folder} belongs to process {pid}."
    if url:
        return f"{message} It serves it at {url}: add --url {url} or set RAG_URL."
    return f"{message} Wait until it ends, or use another folder with RAG_DATA_DIR."


def _owner(folder: Path) -> tuple[Any, Any]:
    """Returns the id of the process that owns a folder, and the URL at which it serves it."""
    try:
        owner = json.loads((folder / f"{LOCK}.json").read_text())
        return owner["pid"], owner["url"]
    except (OSError, ValueError, TypeError, KeyError):
        return "unknown", None
