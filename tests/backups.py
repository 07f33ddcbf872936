"""A small data folder, and backups of it, for tests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ingest.index_check import IndexCheck, Report
from rag.build.backup_places import build_seal, build_store
from rag.build.backups import make_backup
from rag.build.ingest import Ingesting, open_ingesting
from rag.build.restores import restore
from rag.operations.backup.manifest import backup_ids, read_manifest
from rag.operations.backup.packing import Made
from rag.settings.tree import Settings, load_settings
from rag.types import DEFAULT_TENANT, Scope
from workers.local_queue import LocalQueue

SCOPE = Scope(tenant=DEFAULT_TENANT, collection="default")
TEXTS = [f"House {n} has {n * 7} lamps. The cellar of house {n} is dry." for n in range(8)]


def settings_of(folder: Path, **others: Any) -> Settings:
    """Returns settings of a data folder whose backups go to the folder `backups` beside it."""
    backup = {"to": str(folder.parent / "backups"), **others.pop("backup", {})}
    return load_settings(data_dir=folder, backup=backup, **others)


async def ingest(opened: Ingesting, texts: Sequence[str], *, scope: Scope = SCOPE) -> None:
    """Ingests each text as an uploaded file, whose original is kept."""
    await opened.ingest.check_collection(scope)
    spool = opened.spool.of(scope.tenant)
    sent = [
        spool.put(text.encode(), uri=f"upload:{text}.txt", name="house.txt", document_id_=text[:9])
        for text in texts
    ]
    await opened.catalog.jobs.submit(scope, sent)
    queue = LocalQueue(
        catalog=opened.catalog, ingest=opened.ingest.ingest, maintain=opened.index.maintain
    )
    await queue.drain()


async def fill(settings: Settings, texts: Sequence[str] = TEXTS) -> None:
    """Ingests texts into what the settings name."""
    async with open_ingesting(settings) as opened:
        await ingest(opened, texts)


async def back_up(settings: Settings) -> Made:
    return await make_backup(settings, build_store(settings), build_seal(settings))


async def bring_back(settings: Settings, to: Settings, id_: str | None = None) -> None:
    """Restores a backup of some settings, the newest by default, into what others name."""
    store, seal = build_store(settings), build_seal(settings)
    await restore(to, read_manifest(store, seal, id_ or backup_ids(store)[-1]), store, seal)


async def checked(settings: Settings) -> tuple[Report, set[str]]:
    """Opens what the settings name; returns the comparison of catalog and index, and all texts."""
    async with open_ingesting(settings) as opened:
        check = IndexCheck(pipeline=opened.ingest, index=opened.index, catalog=opened.catalog)
        report = await check.run(SCOPE, repair=False, progress=lambda _: None)
        records = await opened.catalog.documents.page(SCOPE, limit=1000)
        texts = {await opened.catalog.documents.text(SCOPE, record.id) for record in records}
        for record in records:
            if record.original:
                assert opened.originals.of(SCOPE.tenant).path(record.original).is_file()
    return report, texts


def manifest_file(settings: Settings, id_: str) -> Path:
    return Path(str(settings.backup.to)) / "manifests" / f"{id_}.json"


def edit(file: Path, **changes: Any) -> None:
    """Changes fields of the head of a manifest, and its checksum with them."""
    head = json.loads(file.read_text()) | changes
    del head["sha256"]
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode()).hexdigest()
    file.write_text(json.dumps(head | {"sha256": digest}))
