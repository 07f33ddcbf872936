"""The original files of documents, kept so that they can be opened.

An original goes with its document: it is stored before the catalog names it, and removed once the
catalog names it no more. What a killed process leaves is found by `sweep`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ingest.sources.files import KeyedFiles, prefix_of, storage_errors

_log = logging.getLogger(__name__)


class Originals(KeyedFiles):
    """The folder of the originals of all tenants."""

    def __init__(self, folder: Path, *, keep: bool) -> None:
        """Make the folder's view; unless `keep`, no further originals are stored."""
        super().__init__(folder, prefix="")
        self._keep = keep

    def of(self, tenant: str) -> TenantOriginals:
        """Returns the originals of one tenant."""
        return TenantOriginals(self._folder, prefix=prefix_of(tenant), keep=self._keep)


class TenantOriginals(KeyedFiles):
    """The originals of one tenant.

    Raises:
        StorageError: A key is another tenant's. All methods that take a key raise it.
    """

    def __init__(self, folder: Path, prefix: str, *, keep: bool) -> None:
        super().__init__(folder, prefix)
        self._keep = keep

    def path(self, key: str) -> Path:
        """Returns the path of an original."""
        return self._file(key)

    def store(self, source: Mapping[str, Any], path: Path, *, version: str) -> str | None:
        """Stores the file that a document was read from; returns its key, or None if it has none.

        A JSON document has no file. A file that is not the one that was read any more, by its
        `version`, is not kept either.

        Raises:
            StorageError: The disk is full.
        """
        is_json = "spool" in source and "url" not in source and source.get("name") is None
        if is_json or not self._keep:
            return None
        key: str = source["spool"] if "spool" in source else self.new_key()
        kept = self._file(key)
        with storage_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            if not path.is_file():
                found = ""
            elif "spool" in source:
                found = _link(path, kept, version)
            else:
                found = _copy(path, kept)
        if found == version:
            return key
        kept.unlink(missing_ok=True)
        _log.warning("%s is not the file any more that was read: no original is kept.", path.name)
        return None


def _link(path: Path, kept: Path, version: str) -> str:
    """Gives a file of the spool, which nobody changes, a second name; returns its version."""
    kept.unlink(missing_ok=True)  # of an attempt that was killed
    try:
        os.link(path, kept)
    except OSError:  # a file system without links
        return _copy(path, kept)
    os.utime(kept)  # it is new here: `sweep` goes by the time
    return version


def _copy(path: Path, kept: Path) -> str:
    """Copies a file; returns the version of the bytes that were written."""
    try:
        with path.open("rb") as source, kept.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
            target.flush()
            os.fsync(target.fileno())
        with kept.open("rb") as written:
            return hashlib.file_digest(written, "sha256").hexdigest()
    except OSError:
        kept.unlink(missing_ok=True)
        raise
