"""Places where a document's bytes lie until they are ingested."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote_to_bytes, urlsplit
from uuid import uuid4

from ingest.readers.media_types import DOCUMENTS, READABLE
from ingest.readers.options import DEFAULT_OPTIONS, ReadOptions
from ingest.sources.exclusion import NOTHING, Exclusion
from rag.errors import InputError, ReadError, StorageError
from rag.records import Submission
from rag.text.uris import document_id, last_part
from rag.types import Document

_OF_TENANT = "t"
"""Begins the keys of a tenant; those of older versions begin with a digit or a to f."""


def file_uri(path: Path | str) -> str:
    """Returns the uri of a file; links are not followed, so that it stays what the caller named."""
    return Path(os.path.abspath(path)).as_uri()  # noqa: PTH100 - resolve() would follow links


def path_of(uri: str) -> Path:
    """Returns the file that `file_uri` named."""
    return Path(os.fsdecode(unquote_to_bytes(urlsplit(uri).path)))


def submission_of(path: Path) -> Submission:
    """Returns the submission of a file that is read in place.

    It contains the uri, not the path: not every path is text, each uri is.
    """
    uri = file_uri(path)
    return Submission(
        document_id=document_id(uri),
        uri=uri,
        source={"file": uri},
        title=name_of(path),
    )


def name_of(path: Path) -> str:
    """Returns a file's name as text; bytes that are not UTF-8 are marked."""
    return os.fsencode(path.name).decode(errors="replace")


def name_for(source: Mapping[str, Any], path: Path, *, uri: str) -> str:
    """Returns the name of a document for users: its file's, or the end of its uri.

    `path` is the place of its bytes.
    """
    if "file" in source:
        return name_of(path)
    return source.get("name") or last_part(uri)


@contextlib.contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Raises StorageError if bytes that were sent cannot be written."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"The upload cannot be kept: {error.strerror}. Free some space and send it again.",
            code="disk_full",
            detail=f"It was to be kept in {folder}.",
        ) from error


def prefix_of(tenant: str) -> str:
    """Returns the beginning of a tenant's keys."""
    name = blake2b(tenant.encode(), digest_size=8).hexdigest()
    return f"{_OF_TENANT}{name}-"


class KeyedFiles:
    """The files of a folder whose names, the keys, begin with a prefix."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self._folder = folder
        self._prefix = prefix

    def keys(self, *, older_than: float) -> set[str]:
        """Returns the keys of complete bytes that were stored at least so many seconds ago."""
        if not self._folder.is_dir():
            return set()
        latest = time.time() - older_than
        found = set()
        for file in self._folder.iterdir():
            # Another process has removed it, or it is another user's, whose process checks it.
            with contextlib.suppress(FileNotFoundError, PermissionError):
                if (
                    file.name.startswith(self._prefix)
                    and file.stat().st_mtime <= latest
                    and not _is_open(file)
                ):
                    found.add(file.name)
        return found

    def sweep(self, keys: Iterable[str]) -> None:
        """Deletes bytes that were never submitted, or are no longer wanted."""
        for key in keys:
            self._file(key).unlink(missing_ok=True)

    def new_key(self) -> str:
        """Returns a key under which nothing is stored yet."""
        return f"{self._prefix}{uuid4().hex}"

    def _file(self, key: str) -> Path:
        # Older versions, which had one tenant, did not mark its keys.
        if key.startswith(_OF_TENANT) and not key.startswith(self._prefix):
            raise StorageError(
                "The bytes of a document are those of another tenant: the catalog is damaged. Send"
                " the document again."
            )
        return self._folder / key


class Spool(KeyedFiles):
    """A folder for bytes that were sent: on disk before they are accepted, gone once ingested.

    It sees the bytes of all tenants, for the process that removes those that nobody needs.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, prefix="")

    def of(self, tenant: str) -> TenantSpool:
        """Returns the spool of one tenant."""
        return TenantSpool(self._folder, prefix=prefix_of(tenant))


class TenantSpool(KeyedFiles):
    """The bytes of one tenant in the spool.

    Raises:
        StorageError: A key is another tenant's. All methods that take a key or a source raise it.
    """

    def part(self) -> TenantSpool:
        """Returns a spool in the same folder for the content of one request."""
        return TenantSpool(self._folder, prefix=f"{self.new_key()}-")

    def put(
        self,
        data: bytes,
        *,
        uri: str,
        name: str | None = None,
        document_id_: str | None = None,
        title: str = "",
    ) -> Submission:
        """Stores bytes: a file's under its `name`, or without a name those of a JSON document.

        Raises:
            StorageError: The disk is full.
        """
        key = self.new_key()
        self.write(key, data)
        return Submission(
            document_id=document_id_ or document_id(uri),
            uri=uri,
            source={"spool": key, "name": name, "own_id": document_id_ is not None},
            title=title,
        )

    def write(self, key: str, data: bytes) -> None:
        """Stores bytes under a key.

        Raises:
            StorageError: The disk is full.
        """
        place = self._file(key)
        try:
            with storage_errors(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
                with place.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
        except StorageError:
            place.unlink(missing_ok=True)
            raise

    def incoming(self) -> BinaryIO:
        """Returns a new file for bytes that are still coming. While it is open it is not in `keys`.

        Raises:
            StorageError: The disk is full.
        """
        with storage_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            file = (self._folder / self.new_key()).open("wb")
        fcntl.flock(file, fcntl.LOCK_SH)  # visible to other processes; released when this one ends
        return file

    def put_all(self, items: Sequence[tuple[bytes, Mapping[str, Any]]]) -> list[Submission]:
        """Calls `put` for each item; on an error none is stored."""
        kept: list[Submission] = []
        try:
            for data, names in items:
                kept.append(self.put(data, **names))
        except StorageError:
            for submission in kept:
                self.drop(submission.source)
            raise
        return kept

    def path(self, source: Mapping[str, Any]) -> Path:
        """Returns the path of a source's bytes."""
        if "file" in source:
            return path_of(source["file"])
        return self._file(source["spool"])

    def drop(self, source: Mapping[str, Any]) -> None:
        """Deletes bytes that were sent; a user's own file stays."""
        if "spool" in source:
            self._file(source["spool"]).unlink(missing_ok=True)


def _is_open(file: Path) -> bool:
    """True if a file from `Spool.incoming` is still open."""
    with file.open("rb") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def load(
    source: Mapping[str, Any],
    path: Path,
    *,
    id_: str,
    uri: str,
    max_bytes: int,
    options: ReadOptions = DEFAULT_OPTIONS,
) -> Document:
    """Reads a document from the place of its bytes.

    Raises:
        ReadError: The file is missing, unreadable, over the limit, or no text.
    """
    # The readers' libraries are for the process that reads alone.
    from ingest.readers.registry import read, read_json

    name = name_for(source, path, uri=uri)
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise ReadError(f"{name}: cannot be read: {error.strerror}.", code="unreadable") from error
    if len(data) > max_bytes:
        raise ReadError(
            f"{name}: over the limit of {max_bytes >> 20} MiB for one document. Split it, or raise"
            " the setting limits.file_mb.",
            code="too_large",
        )
    if "spool" in source and source.get("name") is None:
        return read_json(data, id=id_, uri=uri)
    return read(
        data,
        id=id_,
        uri=uri,
        name=name,
        meta=source.get("meta"),
        options=options,
        depth=source.get("depth", 0),
    )


def find(patterns: Sequence[str], exclude: Exclusion = NOTHING) -> Iterator[Path]:
    """Yields the files that paths, folders and globs name: absolute, each once, in a stable order.

    From a folder, files with a document's extension are yielded; hidden ones and those that
    `exclude` names are left out, and links to folders are not followed, so that a loop of links
    ends.

    Raises:
        InputError: A path does not exist or cannot be listed, or a pattern matches nothing.
    """
    seen: set[Path] = set()
    for pattern in patterns:
        found = 0
        for path in _expand(pattern, exclude):
            found += 1
            absolute = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
            if absolute not in seen:
                seen.add(absolute)
                yield absolute
        if not found:
            raise InputError(
                f"{pattern}: no file to read there. Readable: {READABLE}.",
                code="no_files",
            )


def _expand(pattern: str, exclude: Exclusion) -> Iterator[Path]:
    if not pattern:
        raise InputError("An empty path names nothing; . is the folder you are in.")
    path = Path(pattern)
    if path.is_dir():
        yield from walk(path, exclude)
    elif path.is_file():
        yield path
    elif path.exists():
        raise InputError(f"{pattern}: not a regular file. `cat` it into `rag ingest -`.")
    elif glob.has_magic(pattern):
        # Unlike glob.glob, Path.glob does not follow links to folders: a loop has an end.
        top = Path(path.anchor)
        for match in sorted(top.glob(str(path.relative_to(path.anchor)))):
            if not _is_hidden(match, path) and not exclude.leaves_out(Path(match.name)):
                yield from walk(match, exclude) if match.is_dir() else [match]
    else:
        raise InputError(f"{pattern}: there is no such file or folder.", code="no_such_path")


def _is_hidden(match: Path, pattern: Path) -> bool:
    """True if a part of it begins with a dot that the pattern does not contain."""
    return any(part.startswith(".") and part not in pattern.parts for part in match.parts)


def is_document(path: Path) -> bool:
    """True if files of this name are read from a folder."""
    return not path.name.startswith(".") and path.suffix.lower() in DOCUMENTS


def walk(folder: Path, exclude: Exclusion = NOTHING) -> Iterator[Path]:
    """Yields the documents below a folder, in a stable order; see `find`.

    Raises:
        InputError: The folder, or one below it, is gone or cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise InputError(
            f"{error.filename}: cannot be listed: {error.strerror}. Mend its permissions, or name"
            " the files that can be read.",
            code="unreadable_folder",
        )

    for here, folders, names in os.walk(folder, onerror=refuse):
        inside = Path(here).relative_to(folder)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and not exclude.leaves_out(inside / name)
        )
        for name in sorted(names):
            path = Path(here) / name
            if is_document(path) and not exclude.leaves_out(inside / name):
                with contextlib.suppress(OSError):  # a link to nowhere or to itself is no file
                    if path.is_file():
                        yield path
