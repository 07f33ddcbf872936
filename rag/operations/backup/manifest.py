"""The manifest of a backup. It is written last: a backup without a valid one does not exist."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import time
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

import rag
from rag.catalog.database import HEAD
from rag.errors import ConfigError, NotFoundError, StorageError
from rag.operations.backup.object_store import ObjectStore
from rag.operations.backup.sealing import Seal
from rag.process.private_folder import CATALOG, INDEX, MODELS, OLD_SETTINGS, ORIGINALS, SPOOL

FORMAT = 1
"""The version of the layout of backups; one with a higher number is refused."""
PIECE = 8 << 20
"""Bytes of a piece of a file, but for its last: a piece is what is stored once. Smaller ones find
more that has not changed; larger ones need fewer requests."""
MANIFESTS = "manifests"
PLACES = (CATALOG, INDEX, SPOOL, ORIGINALS, MODELS, OLD_SETTINGS)
"""The names at the top of a backup."""
_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")


def _inside(path: str) -> str:
    """Returns a path of a manifest. Raises ValueError if it may lead out of a data folder."""
    steps = path.split("/")
    if steps[0] not in PLACES or not all(steps) or {".", ".."} & set(steps) or "\0" in path:
        raise ValueError(f"{path!r} is no path of a backup")
    return path


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Piece(_Model):
    """Some bytes of a file, from offset `at` on."""

    at: int = Field(ge=0)
    size: int = Field(gt=0, le=PIECE)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class StoredFile(_Model):
    """A file: its pieces, in order; between them it has holes."""

    path: Annotated[str, AfterValidator(_inside)]
    size: int = Field(ge=0)
    pieces: tuple[Piece, ...]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        at = 0
        for piece in self.pieces:
            if piece.at < at:
                raise ValueError(f"{self.path} has pieces that overlap")
            at = piece.at + piece.size
        if at > self.size:
            raise ValueError(f"{self.path} has pieces past its end")
        return self


class StoredCollection(_Model):
    """A collection, as the catalog of the backup has it."""

    tenant: str
    collection: str
    embedder: str
    documents: int
    chunks: int


class Manifest(_Model):
    """A backup. `made_at` is the moment whose state it has, in seconds since 1970."""

    id: str = Field(pattern=_ID.pattern)
    made_at: float
    catalog: str
    """The newest migration of its catalog."""
    kinds: dict[str, str]
    """The kinds of catalog and index that were copied."""
    collections: tuple[StoredCollection, ...]
    unsettled: tuple[tuple[str, str], ...]
    """Tenant and name of the collections whose index was written while it was copied: they are
    checked once they are restored."""
    missing: tuple[str, ...]
    """Files that the catalog names, and that were not there."""
    files: tuple[StoredFile, ...]

    @property
    def bytes(self) -> int:
        """The bytes of its files, without holes."""
        return sum(piece.size for file in self.files for piece in file.pieces)


def new_id(at: float) -> str:
    """Returns the id of a backup of a time; ids are in the order of time, to the microsecond."""
    fraction = int(at % 1 * 1e6)
    random = secrets.randbelow(16**3)
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(at))}-{fraction:05x}{random:03x}"


def write_manifest(store: ObjectStore, seal: Seal, manifest: Manifest) -> None:
    """Writes a manifest: from this moment on its backup is one."""
    name = f"{MANIFESTS}/{manifest.id}.json"
    body = manifest.model_dump_json().encode()
    sealed = bytes(seal.seal(name, body))
    head = {
        "product": "Plumbline",
        "format": FORMAT,
        "version": rag.__version__,
        "key_id": seal.key_id,
        "body": base64.b64encode(sealed).decode() if seal.key_id else sealed.decode(),
    }
    store.write(name, json.dumps(head | {"sha256": _sum_of(head)}).encode())


def backup_ids(store: ObjectStore) -> list[str]:
    """Returns the ids of all backups, oldest first."""
    names = (name.removeprefix(f"{MANIFESTS}/") for name in store.sizes(MANIFESTS))
    return sorted(
        id_ for name in names if _ID.fullmatch(id_ := name.removesuffix(".json")) and id_ != name
    )


def read_manifest(store: ObjectStore, seal: Seal, id_: str) -> Manifest:
    """Returns a manifest, all of which is checked.

    Raises:
        NotFoundError: There is no such backup.
        ConfigError: It was made by a newer version, or another key is needed.
        StorageError: It is damaged.
    """
    name = f"{MANIFESTS}/{id_}.json"
    if not _ID.fullmatch(id_):
        raise NotFoundError(f"{id_!r} is no id of a backup: `rag backup list` has them.")
    try:
        text = bytes(store.read(name))
    except NotFoundError:
        raise NotFoundError(f"There is no backup {id_}: `rag backup list` has them.") from None
    try:
        head = json.loads(text)
        _check_version(head["format"], FORMAT, head["version"])
        _check_key(seal, head["key_id"])
        if head.pop("sha256") != _sum_of(head):
            raise _damaged(id_, "its checksum differs")
        sealed = base64.b64decode(head["body"]) if head["key_id"] else head["body"].encode()
        manifest = Manifest.model_validate_json(bytes(seal.unseal(name, sealed)))
        _check_files(manifest, id_)
    except ValidationError as error:
        raise _damaged(id_, str(error.errors(include_url=False)[0]["msg"])) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(id_, str(error)) from None
    _check_version(manifest.catalog, HEAD, head["version"])
    return manifest


def _sum_of(head: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(head, sort_keys=True).encode()).hexdigest()


def _check_files(manifest: Manifest, id_: str) -> None:
    if manifest.id != id_:
        raise ValueError(f"it is the manifest of {manifest.id}")
    paths = [file.path for file in manifest.files]
    if len(set(paths)) < len(paths):
        raise ValueError("it has a file twice")


def _check_version(found: Any, known: Any, version: str) -> None:
    if found > known:
        raise ConfigError(
            f"The backup was made by a newer Plumbline, {version}, and this one is"
            f" {rag.__version__}: upgrade, and restore it then.",
            code="backup_newer",
        )


def _check_key(seal: Seal, key_id: str | None) -> None:
    if key_id == seal.key_id:
        return
    if key_id is None:
        message = "The backup is not encrypted, and backup.key is set: unset it to restore it."
    elif seal.key_id is None:
        message = "The backup is encrypted: set backup.key, or RAG_BACKUP__KEY__FILE, to its key."
    else:
        message = (
            f"The backup was made with another key (its id is {key_id}, that of backup.key"
            f" {seal.key_id}): set the key that it was made with."
        )
    raise ConfigError(message, code="backup_key")


def _damaged(id_: str, why: str) -> StorageError:
    return StorageError(
        f"The manifest of the backup {id_} is damaged: {why}. Restore another backup.",
        code="backup_damaged",
    )
