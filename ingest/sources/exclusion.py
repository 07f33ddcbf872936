"""Globs of files and folders that are not ingested from a folder."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import PurePath

from rag.errors import InputError


class Exclusion:
    """The files and folders below a folder that globs leave out; nothing without globs.

    A glob without a slash fits a name at any depth; one with a slash fits the path from the folder
    on, where `**` stands for any number of folders. With a folder, everything in it is left out.
    """

    def __init__(self, globs: Sequence[str] = ()) -> None:
        """Take globs.

        Raises:
            InputError: One of them is blank, or only leads upwards.
        """
        self._globs = [_parts(glob) for glob in globs]

    def __bool__(self) -> bool:
        return bool(self._globs)

    def leaves_out(self, path: PurePath) -> bool:
        """True if a path, relative to the folder, or a folder above it fits one of the globs."""
        return any(
            _fits(path.parts[:length], glob)
            for length in range(1, len(path.parts) + 1)
            for glob in self._globs
        )


NOTHING = Exclusion()


def _parts(glob: str) -> tuple[str, ...]:
    parts = tuple(part for part in glob.split("/") if part not in ("", "."))
    if not parts or ".." in parts:
        raise InputError(
            f"--exclude {glob!r} fits nothing below a folder: write a name such as drafts or *.log,"
            " or a path from the folder on such as archive/**/*.csv."
        )
    return parts if "/" in glob.rstrip("/") else ("**", *parts)


def _fits(parts: Sequence[str], glob: Sequence[str]) -> bool:
    if not glob:
        return not parts
    if glob[0] == "**":
        return any(_fits(parts[start:], glob[1:]) for start in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], glob[0]) and _fits(parts[1:], glob[1:])
