"""Builds what the objects of backups are stored in and encrypted with."""

from __future__ import annotations

import re
from pathlib import Path

from rag.errors import ConfigError
from rag.operations.backup.object_store import FolderStore, ObjectStore
from rag.operations.backup.sealing import Encrypted, Plain, Seal
from rag.privacy.redaction import masked
from rag.process.extras import needing
from rag.settings.backup import key_bytes
from rag.settings.tree import Settings

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
_BUCKET = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*?))?/*")


def build_store(settings: Settings, place: str | None = None) -> ObjectStore:
    """Returns the place of the backups; `place` is one that replaces the setting's.

    Raises:
        ConfigError: None is named, or it is not valid.
    """
    place = place or settings.backup.to
    if not place:
        raise ConfigError(
            "No place for backups is named: set backup.to to a folder or s3://BUCKET/PREFIX, or"
            " name one with --place."
        )
    if _SCHEME.match(place) and not place.startswith("s3:"):
        raise ConfigError(
            f"{masked(place)} is no place for backups: name a folder or s3://BUCKET/PREFIX."
        )
    if not place.startswith("s3:"):
        folder = Path(place).expanduser().resolve()
        data = settings.data_dir.resolve()
        if folder == data or data in folder.parents:
            raise ConfigError(
                f"The folder of the backups, {folder}, lies in the data folder: a backup that is"
                " lost with its data is none."
            )
        return FolderStore(folder)
    bucket = _BUCKET.fullmatch(place)
    if bucket is None:
        raise ConfigError(f"{masked(place)} has not the form s3://BUCKET/PREFIX.")
    with needing("backup", for_=f"{place}"):
        from rag.operations.backup.s3_store import S3Store
    return S3Store(bucket[1], bucket[2] or "")


def build_seal(settings: Settings) -> Seal:
    """Returns what encrypts with `backup.key`; without a key, what does not."""
    key = settings.backup.key
    return Plain() if key is None else Encrypted(key_bytes(key))
