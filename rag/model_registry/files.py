"""The files of a model's folder, and their checksums."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from rag.errors import InputError, StorageError
from rag.model_registry.records import FileStamp, ModelKind

_CONFIGS: Mapping[ModelKind, tuple[str, ...]] = {
    "embedder": ("config.json", "modules.json"),
    "reranker": ("config.json", "modules.json"),
    "generator": ("config.json",),
    "adapter": ("adapter_config.json",),
    "entailment": ("config.json",),
}
"""Files by which a model's folder is known; one of them is enough."""
_QUANTIZED = {"quantization_config", "compression_config"}
"""Keys in the config.json of a quantized model."""


class Changes(NamedTuple):
    """Files of a folder that are not as they were recorded, by their paths, in order."""

    missing: tuple[str, ...]
    added: tuple[str, ...]
    changed: tuple[str, ...]

    def __str__(self) -> str:
        named = self._asdict().items()
        return "; ".join(f"{kind}: {', '.join(files)}" for kind, files in named if files)


def check_folder(folder: Path, kind: ModelKind) -> None:
    """Checks that a folder holds a model.

    Raises:
        InputError: It does not exist, or it lacks the configuration of a model of this kind.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}.")
    if not any((folder / name).is_file() for name in _CONFIGS[kind]):
        raise InputError(
            f"{folder} is not the folder of a model of the kind {kind!r}: it has no"
            f" {' or '.join(_CONFIGS[kind])}."
        )


def is_quantized(folder: Path) -> bool:
    """Returns True if the model's config.json says so.

    Raises:
        InputError: The file is not JSON.
    """
    file = folder / "config.json"
    if not file.is_file():
        return False
    try:
        return bool(_QUANTIZED & set(json.loads(file.read_bytes())))
    except ValueError as error:
        raise InputError(f"{file} is damaged: {error}. Copy the model again.") from error


def stamped(folder: Path) -> dict[str, FileStamp]:
    """Returns all files of a folder with their checksums; hidden files are left out.

    Raises:
        StorageError: A file cannot be read, or changed meanwhile.
    """
    stamps = {}
    for name, file in _files(folder):
        try:
            before = file.stat()
            sha256 = _sha256(file)
            after = file.stat()
        except OSError as error:
            raise StorageError(f"{file} cannot be read: {error.strerror}.") from error
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise StorageError(f"{file} was written while it was read. Try again when it is whole.")
        stamps[name] = FileStamp(size=after.st_size, mtime_ns=after.st_mtime_ns, sha256=sha256)
    return stamps


def changes(recorded: Mapping[str, FileStamp], found: Mapping[str, FileStamp]) -> Changes:
    """Compares the checksums of files with the recorded ones."""
    both = recorded.keys() & found.keys()
    return Changes(
        missing=tuple(sorted(recorded.keys() - found.keys())),
        added=tuple(sorted(found.keys() - recorded.keys())),
        changed=tuple(n for n in sorted(both) if recorded[n].sha256 != found[n].sha256),
    )


def quick_changes(folder: Path, recorded: Mapping[str, FileStamp]) -> Changes:
    """Compares files with the recorded ones; checksums only where size or time differ.

    Raises:
        StorageError: A file cannot be read.
    """
    found = {}
    for name, file in _files(folder):
        known = recorded.get(name)
        try:
            stat = file.stat()
            same = known and (known.size, known.mtime_ns) == (stat.st_size, stat.st_mtime_ns)
            sha256 = known.sha256 if known and same else _sha256(file)
        except OSError as error:
            raise StorageError(f"{file} cannot be read: {error.strerror}.") from error
        found[name] = FileStamp(size=stat.st_size, mtime_ns=stat.st_mtime_ns, sha256=sha256)
    return changes(recorded, found)


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yields the files that are not hidden, in order, with their paths in the folder."""
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            file = Path(here) / name
            yield file.relative_to(folder).as_posix(), file


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
