"""`rag tenants`: lists, exports and deletes what tenants have on this host."""

from __future__ import annotations

import argparse
import asyncio
import re
from dataclasses import asdict
from typing import Any

from rag.build.ingest import open_ingesting
from rag.build.storage import open_beside
from rag.cli import output
from rag.cli.operator import command_row
from rag.cli.progress import activity
from rag.errors import InputError, NotFoundError
from rag.process.private_folder import ORIGINALS, SPOOL
from rag.records import SERVICE, TenantRecord
from rag.settings.tree import Settings
from rag.types import TENANT


async def tenants(args: argparse.Namespace, settings: Settings) -> int:
    """Runs one of the tasks."""
    if args.task == "list":
        return await _list(args, settings)
    if not re.fullmatch(TENANT, args.tenant):
        raise InputError(f"{args.tenant!r} is no tenant: it does not match {TENANT}.")
    if args.task == "export":
        return await _export(args, settings)
    return await _delete(args, settings)


async def _list(args: argparse.Namespace, settings: Settings) -> int:
    async with open_beside(settings) as storage:
        found = await storage.catalog.tenants.all()
    output.show({"tenants": [asdict(each) for each in found]}, _lines, as_json=args.json)
    return 0


async def _export(args: argparse.Namespace, settings: Settings) -> int:
    from ingest.sources.files import Spool
    from ingest.sources.originals import Originals
    from ingest.tenant_export import TenantExport

    data = settings.data_dir.resolve()
    async with open_beside(settings) as storage:
        catalog = storage.catalog
        _found(await catalog.tenants.all(), args.tenant)
        spool, originals = Spool(data / SPOOL), Originals(data / ORIGINALS, keep=False)
        # First: the export has this row, too.
        await catalog.audit.write([command_row(args.tenant, "tenant.export", args.tenant)])
        export = TenantExport(catalog, spool, originals, args.tenant)
        with activity("Exporting", quiet=args.json):
            manifest = await export.write(args.to)
    rows = sum(table["rows"] for table in manifest["tables"].values())
    made = {
        "file": str(args.to),
        "rows": rows,
        "files": len(manifest["files"]),
        "missing": manifest["missing"],
    }
    output.show(made, _exported, as_json=args.json)
    return 0


async def _delete(args: argparse.Namespace, settings: Settings) -> int:
    from ingest.tenant_deletion import TenantDeletion

    if not args.yes:
        await asyncio.to_thread(_confirm, args.tenant)
    async with open_ingesting(settings) as opened:
        before = await opened.catalog.tenants.all()
        known = next((each for each in before if each.name == args.tenant), None)
        if known is not None:
            deletion = TenantDeletion(
                catalog=opened.catalog,
                removal=opened.ingest.removal,
                spool=opened.spool,
                originals=opened.originals,
            )
            with activity("Deleting", quiet=args.json):
                await deletion.delete(
                    args.tenant,
                    begun=command_row(args.tenant, "tenant.delete", args.tenant),
                    done=command_row(SERVICE, "tenant.delete", args.tenant),
                )
    had = asdict(known) if known else {"name": args.tenant}
    output.show({"deleted": known is not None, "had": had}, _deleted, as_json=args.json)
    return 0


def _confirm(name: str) -> None:
    try:
        typed = input(f"Type {name} to delete all that it has: ")
    except EOFError:
        typed = ""
    if typed != name:
        raise InputError(
            "That is not its name: nothing was deleted. Scripts add --yes.", code="not_confirmed"
        )


def _found(records: list[TenantRecord], name: str) -> TenantRecord:
    for record in records:
        if record.name == name:
            return record
    raise NotFoundError(f"There is no tenant {name!r}.", code="unknown_tenant")


def _lines(body: dict[str, Any]) -> output.Lines:
    if not body["tenants"]:
        yield "There are no tenants."
    for each in body["tenants"]:
        numbers = (f"{n} {name.replace('_', ' ')}" for name, n in each.items() if name != "name")
        yield f"{each['name']}: {', '.join(numbers)}"


def _exported(body: dict[str, Any]) -> output.Lines:
    yield f"{body['file']}: {body['rows']} rows and {body['files']} files."
    for name in body["missing"]:
        yield f"Missing: {name}"


def _deleted(body: dict[str, Any]) -> output.Lines:
    name = body["had"].pop("name")
    if not body["deleted"]:
        yield f"Nothing is stored of the tenant {name}."
        return
    yield f"The tenant {name} is deleted; it had:"
    yield "  " + ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in body["had"].items())
