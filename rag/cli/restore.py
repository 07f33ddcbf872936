"""`rag restore`: brings a backup back, or tries whether that works."""

from __future__ import annotations

import argparse
import time

from ingest.index_check import IndexCheck
from rag.build.backup_places import build_seal, build_store
from rag.build.ingest import open_ingesting
from rag.build.restores import restore as put_back
from rag.build.storage import open_beside
from rag.cli import output
from rag.cli.backup import chosen, moment
from rag.cli.operator import command_row
from rag.cli.progress import activity
from rag.errors import InputError
from rag.records import SERVICE
from rag.settings.tree import Settings


async def restore(args: argparse.Namespace, settings: Settings) -> int:
    """Restores; with --drill aside, to compare with the running service."""
    if args.drill:
        from rag.cli.drill import drill

        return await drill(args, settings)
    if args.questions or args.url:
        raise InputError("--questions and --url go with --drill.")
    store, seal = build_store(settings, args.place), build_seal(settings)
    manifest = await chosen(args.id, store, seal)
    began = time.monotonic()
    with activity("Restoring", quiet=args.json):
        unsettled = await put_back(settings, manifest, store, seal)
    seconds = time.monotonic() - began
    repaired = 0
    if unsettled:
        async with open_ingesting(settings) as opened:
            check = IndexCheck(pipeline=opened.ingest, index=opened.index, catalog=opened.catalog)
            for scope in unsettled:
                report = await check.run(scope, repair=True, progress=lambda _: None)
                repaired += report.repaired
                await opened.index.maintain(scope)
    async with open_beside(settings) as storage:
        await storage.catalog.audit.write([command_row(SERVICE, "backup.restore", manifest.id)])
    body = {
        "id": manifest.id,
        "made_at": moment(manifest),
        "age_seconds": time.time() - manifest.made_at,
        "data_dir": str(settings.data_dir),
        "bytes": manifest.bytes,
        "documents": sum(each.documents for each in manifest.collections),
        "missing": list(manifest.missing),
        "checked": len(unsettled),
        "repaired": repaired,
        "seconds": seconds,
    }
    output.show(body, _lines, as_json=args.json)
    return 0


def _lines(body: output.Json) -> output.Lines:
    yield (
        f"{body['documents']:,} documents of {body['made_at']} are in {body['data_dir']} again:"
        f" {body['bytes'] / 1e6:,.1f} MB in {body['seconds']:.1f} s."
    )
    if body["checked"]:
        yield (
            f"Compared catalog and index of {body['checked']} collections that were written during"
            f" the backup: {body['repaired']} documents put in step."
        )
    for path in body["missing"]:
        yield f"It was missing when the backup was made: {path}"
    yield "The settings of then, without secrets, are in settings-of-backup.json there."
