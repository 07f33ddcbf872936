"""The folders in which the embedded index keeps a collection, and the file that names them.

FOLDER/TENANT/COLLECTION/
    current     the generation that is searched and, on a second line, the previous version's
    0123…cdef/  a generation: the files of one shard; if it is not the version's first one, the
                file `origin` has the name of the first one
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from rag.errors import StorageError
from rag.types import Scope

CURRENT = "current"
NEXT, PREVIOUS = ".next", ".previous"
"""Suffixes of the names of scopes that are versions; no collection's name has a dot."""
_ORIGIN = "origin"
_GENERATION = re.compile(r"[0-9a-f]{32}")


def home_of(folder: Path, scope: Scope) -> Path:
    """Returns the folder in which an index under `folder` keeps a scope and its versions."""
    return folder / scope.tenant / scope.collection.partition(".")[0]


def sibling(scope: Scope, suffix: str) -> Scope:
    """Returns the version of a scope with this suffix."""
    return replace(scope, collection=scope.collection + suffix)


def owner_of(generation: Path) -> Scope | None:
    """Returns the scope, or its previous version, whose generation is in this folder; else None."""
    home = generation.parent
    scope = Scope(tenant=home.parent.name, collection=home.name)
    both = zip(generations(home), (scope, sibling(scope, PREVIOUS)), strict=False)
    return dict(both).get(generation.name)


def origin_of(generation: Path) -> str:
    """Returns the name of a version's first folder, which a rebuild replaces by another."""
    file = generation / _ORIGIN
    return file.read_text() if file.exists() else generation.name


def note_origin(generation: Path, name: str) -> None:
    """Writes the name that `origin_of` returns for a folder made by a rebuild."""
    (generation / _ORIGIN).write_text(name)


def write_generations(home: Path, *names: str) -> None:
    """Writes the names of a scope's generation and its previous version's, in one atomic step."""
    new = home / f"{CURRENT}.new"
    with new.open("w") as file:
        file.write("\n".join(names))
        file.flush()
        os.fsync(file.fileno())  # a power cut must not leave the new name on an empty file
    new.replace(home / CURRENT)


def generations(home: Path) -> list[str]:
    """Returns the generation that is searched, then the previous version's if there is one."""
    file = home / CURRENT
    if not file.exists():
        return []
    names = file.read_bytes().decode(errors="replace").split("\n")
    if not all(map(_GENERATION.fullmatch, names)):
        raise StorageError(
            "The index is damaged: its file `current` names no folder beside it. Restore the"
            " collection's folder from a backup, or delete it and ingest again.",
            detail=f"It is {file}.",
        )
    return names
