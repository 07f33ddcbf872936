"""`rag backup`: makes, lists, checks and removes backups."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from datetime import UTC, datetime

from rag.build.backup_places import build_seal, build_store
from rag.cli import output
from rag.cli.progress import activity
from rag.errors import ConfigError, NotFoundError, StorageError
from rag.operations.backup.manifest import Manifest, backup_ids, read_manifest
from rag.operations.backup.object_store import ObjectStore
from rag.operations.backup.pieces import Pieces
from rag.operations.backup.pruning import prune
from rag.operations.backup.sealing import Seal
from rag.records import SERVICE
from rag.settings.tree import Settings


async def backup(args: argparse.Namespace, settings: Settings) -> int:
    """Runs one of the tasks."""
    store, seal = build_store(settings, args.place), build_seal(settings)
    match args.task:
        case "create":
            return await _create(args, settings, store, seal)
        case "list":
            return await _list(args, store, seal)
        case "verify":
            return await _verify(args, store, seal)
        case _:
            return await _prune(args, store, seal)


async def _create(
    args: argparse.Namespace, settings: Settings, store: ObjectStore, seal: Seal
) -> int:
    from rag.build.backups import make_backup  # the other tasks open no data folder
    from rag.build.storage import open_beside
    from rag.cli.operator import command_row

    began = time.monotonic()
    with activity("Backing up", quiet=args.json):
        made = await make_backup(settings, store, seal)
    async with open_beside(settings) as storage:
        await storage.catalog.audit.write([command_row(SERVICE, "backup.create", made.manifest.id)])
    body = _summary(made.manifest) | {
        "written": made.written,
        "reused": made.reused,
        "missing": list(made.manifest.missing),
        "encrypted": seal.key_id is not None,
        "seconds": time.monotonic() - began,
    }
    output.show(body, _created, as_json=args.json)
    return 0


async def _list(args: argparse.Namespace, store: ObjectStore, seal: Seal) -> int:
    found: list[output.Json] = []
    for id_ in await asyncio.to_thread(backup_ids, store):
        try:
            manifest = await asyncio.to_thread(read_manifest, store, seal, id_)
        except (StorageError, ConfigError) as error:  # the others are listed all the same
            found.append({"id": id_, "error": str(error)})
        else:
            found.append(_summary(manifest))
    output.show({"backups": found}, _listed, as_json=args.json)
    return 0


async def _verify(args: argparse.Namespace, store: ObjectStore, seal: Seal) -> int:
    manifest = await chosen(args.id, store, seal)
    with activity("Reading", quiet=args.json):
        await asyncio.to_thread(Pieces(store, seal).check, manifest)
    output.show(_summary(manifest), _verified, as_json=args.json)
    return 0


async def _prune(args: argparse.Namespace, store: ObjectStore, seal: Seal) -> int:
    pruned = await asyncio.to_thread(prune, store, seal, keep=args.keep)
    body = {"kept": pruned.kept, "removed": pruned.removed, "pieces": pruned.pieces}
    output.show(body, _pruned, as_json=args.json)
    return 0


async def chosen(id_: str | None, store: ObjectStore, seal: Seal) -> Manifest:
    """Returns the manifest of the backup that is named, or of the newest.

    Raises:
        NotFoundError: There is none.
    """
    if id_ is None:
        with contextlib.suppress(IndexError):
            id_ = (await asyncio.to_thread(backup_ids, store))[-1]
    if id_ is None:
        raise NotFoundError("There is no backup there: `rag backup create` makes one.")
    return await asyncio.to_thread(read_manifest, store, seal, id_)


def moment(manifest: Manifest) -> str:
    """Returns the moment whose state a backup has, in UTC."""
    return datetime.fromtimestamp(manifest.made_at, UTC).isoformat(timespec="seconds")


def _summary(manifest: Manifest) -> output.Json:
    return {
        "id": manifest.id,
        "made_at": moment(manifest),
        "bytes": manifest.bytes,
        "files": len(manifest.files),
        "documents": sum(each.documents for each in manifest.collections),
        "chunks": sum(each.chunks for each in manifest.collections),
        "kinds": dict(manifest.kinds),
    }


def _line(body: output.Json) -> str:
    size = f"{body['bytes'] / 1e6:,.1f} MB"
    held = f"{body['documents']:,} documents, {body['chunks']:,} chunks"
    return f"{body['id']}  {body['made_at']}  {held}, {size}"


def _created(body: output.Json) -> output.Lines:
    yield _line(body)
    yield (
        f"Stored {body['written'] / 1e6:,.1f} MB in {body['seconds']:.1f} s;"
        f" {body['reused'] / 1e6:,.1f} MB were there before."
    )
    if not body["encrypted"]:
        yield "It is not encrypted: backup.key is not set."
    for path in body["missing"]:
        yield f"Missing, and named by the catalog: {path}"


def _listed(body: output.Json) -> output.Lines:
    if not body["backups"]:
        yield "There are no backups: `rag backup create` makes one."
    for each in body["backups"]:
        yield f"{each['id']}  {each['error']}" if "error" in each else _line(each)


def _verified(body: output.Json) -> output.Lines:
    yield f"{_line(body)}: whole."


def _pruned(body: output.Json) -> output.Lines:
    yield (
        f"Removed {len(body['removed'])} backups and {body['pieces']:,} pieces;"
        f" {len(body['kept'])} backups are left."
    )
