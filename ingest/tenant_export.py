"""The export of a tenant: all that it has, in a zip file."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa
from pydantic_core import to_json

import rag
from ingest.sources.files import Spool
from ingest.sources.originals import Originals
from rag.catalog.catalog import Catalog
from rag.catalog.tables import documents, tasks
from rag.catalog.tenants import TABLES
from rag.errors import InputError, StorageError

FORMAT = 1
"""The version of the layout of an export."""
MANIFEST = "manifest.json"
_BLOCK = 1 << 20
Json = dict[str, Any]


class TenantExport:
    """Writes the rows and files of one tenant, and a manifest with their numbers and hashes."""

    def __init__(self, catalog: Catalog, spool: Spool, originals: Originals, tenant: str) -> None:
        self._catalog = catalog
        self._spool = spool.of(tenant)
        self._originals = originals.of(tenant)
        self._tenant = tenant
        self._tables: dict[str, Json] = {}
        self._files: dict[str, Json] = {}
        self._missing: list[str] = []
        self._keys: dict[str, Path] = {}

    async def write(self, to: Path) -> Json:
        """Writes the file, for its owner alone, and returns the manifest.

        It has its name once it is complete. Rows that others write meanwhile may be missing.

        Raises:
            InputError: There is such a file already, or it cannot be made.
            StorageError: The disk is full.
        """
        with _new_file(to) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
            for table in TABLES:
                await self._write_table(made, table)
            await asyncio.to_thread(self._write_files, made)
            manifest = {
                "format": FORMAT,
                "product": "Plumbline",
                "version": rag.__version__,
                "tenant": self._tenant,
                "exported_at": time.time(),
                "tables": self._tables,
                "files": self._files,
                "missing": self._missing,
            }
            made.writestr(MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False))
        return manifest

    async def _write_table(self, made: zipfile.ZipFile, table: sa.Table) -> None:
        """Writes rows as JSON objects, one a line; bytes are in Base64."""
        rows, digest = 0, hashlib.sha256()
        with made.open(f"tables/{table.name}.jsonl", "w", force_zip64=True) as out:
            async for page in self._catalog.tenants.rows(self._tenant, table):
                for row in page:
                    line = to_json(row, bytes_mode="base64", inf_nan_mode="null") + b"\n"
                    digest.update(line)
                    out.write(line)
                    self._note_files(table, row)
                rows += len(page)
        self._tables[table.name] = {"rows": rows, "sha256": digest.hexdigest()}

    def _note_files(self, table: sa.Table, row: Json) -> None:
        if table in (documents, tasks) and (key := row["source"].get("spool")):
            self._keys[f"spool/{key}"] = self._spool.path(row["source"])
        if table is documents and (key := row["original"]):
            self._keys[f"originals/{key}"] = self._originals.path(key)

    def _write_files(self, made: zipfile.ZipFile) -> None:
        """Writes the originals that are kept, and the bytes that wait to be ingested."""
        for name, path in self._keys.items():
            try:
                source = path.open("rb")
            except FileNotFoundError:
                if not name.startswith("spool/"):  # those are dropped once they are ingested
                    self._missing.append(name)
                continue
            with source, made.open(name, "w", force_zip64=True) as out:
                self._files[name] = _copy(source, out)


def _copy(source: IO[bytes], to: IO[bytes]) -> Json:
    size, digest = 0, hashlib.sha256()
    while block := source.read(_BLOCK):
        to.write(block)
        digest.update(block)
        size += len(block)
    return {"bytes": size, "sha256": digest.hexdigest()}


@contextlib.contextmanager
def _new_file(to: Path) -> Iterator[IO[bytes]]:
    """Opens a new file that gets its name at the end of the block; on an error it is removed."""
    if to.exists():
        raise InputError(f"{to} exists: name a new file.", code="file_exists")
    part = to.with_name(f"{to.name}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise InputError(f"{to} cannot be made: {error.strerror}.", code="unwritable") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.rename(to)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StorageError(
            f"{to} cannot be written: {error.strerror}. Free some space and run it again.",
            code="disk_full",
        ) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
