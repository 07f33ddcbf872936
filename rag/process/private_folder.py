"""Restricts a data folder and its files to the user that runs the service."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from rag.settings.tree import Settings

CATALOG, INDEX, SPOOL, EVAL = "catalog.sqlite", "index", "spool", "eval"
ORIGINALS, RUNS, MODELS = "originals", "runs", "models"
BACKUP, OLD_SETTINGS = "backup", "settings-of-backup.json"
"""Names in the data folder."""
_OTHERS = 0o077
_STRANGERS = 0o007
_NAMES = ("lock", "lock.json", INDEX, SPOOL, ORIGINALS, EVAL, RUNS, MODELS, BACKUP, OLD_SETTINGS)


def is_shared(settings: Settings) -> bool:
    """Returns True if other processes, maybe of other users, work on the data folder, too."""
    return settings.catalog.kind == "postgres"


def limit_umask(*, shared: bool) -> None:
    """Sets the umask, so that this process and its children make files for their owner alone.

    In a shared folder the group keeps the rights of the earlier umask: workers of other users may
    need them.
    """
    before = os.umask(_OTHERS)
    if shared:
        os.umask(before | _STRANGERS)


def make_private(folder: Path) -> None:
    """Makes a folder, and those above it that are missing, for their owner alone.

    Raises:
        OSError: It cannot be made.
    """
    for place in (*reversed(folder.parents), folder):
        if not place.exists():
            place.mkdir(mode=0o700, exist_ok=True)


def tighten(folder: Path) -> None:
    """Removes the permissions of group and others from our files in a data folder.

    No permission is added, and files of other users are not changed. Neither is the folder itself
    if it contains more than a data folder does.
    """
    held = list(folder.iterdir())
    ours = [path for path in held if path.name in _NAMES or path.name.startswith(CATALOG)]
    for path in [*ours, *([folder] if len(ours) == len(held) else [])]:
        _narrow(path)
    for path in ours:
        for inside in _below(path):
            _narrow(inside)


def _below(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        yield from (Path(here) / name for name in (*folders, *files))


def _narrow(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):  # a temporary file, removed meanwhile
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid():
            return
        if found.st_mode & _OTHERS:
            path.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)
