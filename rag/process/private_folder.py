"""A data folder and its files are for the user that runs the service."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from rag.settings.tree import Settings

CATALOG, INDEX, SPOOL, EVAL = "catalog.sqlite", "index", "spool", "eval"
"""In the data folder."""
_OTHERS = 0o077
_STRANGERS = 0o007
_NAMES = ("lock", "lock.json", INDEX, SPOOL, EVAL)


def is_shared(settings: Settings) -> bool:
    """True where other processes, maybe of other users, work on the data folder as well."""
    return settings.catalog.kind == "postgres"


def limit_umask(*, shared: bool) -> None:
    """Has this process and its children make files for their owner alone.

    In a shared folder the group may do what the umask lets it: workers of other users may need it.
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
    """Takes from group and others what they may do with our files in a data folder.

    Nobody may do more than before, and what other users own stays as it is. So does the folder
    itself where it holds more than a data folder does.
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
    with contextlib.suppress(FileNotFoundError):  # a file of the moment
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid():
            return
        if found.st_mode & _OTHERS:
            path.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)
