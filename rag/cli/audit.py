"""`rag audit`: verifies and exports the audit log."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rag.build.storage import open_beside
from rag.catalog.audit import Audit, Verified
from rag.cli import output
from rag.cli.operator import command_row
from rag.cli.progress import activity
from rag.errors import InputError
from rag.gateway.audit_log import now_ms
from rag.records import SERVICE, AuditHead
from rag.settings.tree import Settings
from rag.text.plain import plain

EXIT_FAULT = 1


async def audit(args: argparse.Namespace, settings: Settings) -> int:
    """Runs one of the tasks; returns 1 if a chain is not intact."""
    async with open_beside(settings) as storage:
        log = storage.catalog.audit
        known = [head.tenant for head in await log.heads()]
        tenants = known if args.tenant is None else [args.tenant]
        if args.task == "export":
            return await _export(args, log, tenants)
        anchors = _anchors(args.anchor) if args.anchor else {}
        if args.tenant is None:  # a chain that is gone is missing among the heads, too
            tenants = sorted({*known, *anchors})
        with activity("Verifying", quiet=args.json):
            chains = [await _verified(log, tenant, anchors.get(tenant)) for tenant in tenants]
    output.show({"chains": chains}, _lines, as_json=args.json)
    return EXIT_FAULT if any(chain["fault"] for chain in chains) else 0


async def _export(args: argparse.Namespace, log: Audit, tenants: list[str]) -> int:
    """Prints the events of chains; that they were exported is an event itself, written first."""
    from rag.gateway.ocsf import event_of

    named = SERVICE if args.tenant is None else args.tenant
    since = 0 if args.since is None else now_ms() - int(args.since * 1000)
    await log.write([command_row(named, "audit.export", named or "all")])
    for tenant in tenants:
        async for entry in log.entries(tenant, since_ms=since):
            sys.stdout.write(json.dumps(event_of(entry), ensure_ascii=False) + "\n")
    return 0


async def _verified(log: Audit, tenant: str, anchor: AuditHead | None) -> dict[str, Any]:
    found = await log.verify(tenant)
    fault = found.fault or (await _against(log, found, anchor) if anchor else "")
    head = found.head
    return {
        "tenant": tenant,
        "rows": found.rows,
        "number": head.number,
        "hash": head.hash,
        "fault": fault,
    }


async def _against(log: Audit, found: Verified, anchor: AuditHead) -> str:
    """Compares an intact chain with the head that it had earlier; returns what is wrong."""
    if anchor.number > found.head.number:
        return f"Rows {found.head.number + 1} to {anchor.number} of the anchor are missing."
    entry = await log.entry(anchor.tenant, anchor.number)
    if entry is not None and entry.hash != anchor.hash:
        return f"Row {anchor.number} is not that of the anchor: the chain was made anew."
    return ""  # equal, or removed when it was old


def _anchors(file: Path) -> dict[str, AuditHead]:
    try:
        chains = json.loads(file.read_text())["chains"]
        heads = [AuditHead(c["tenant"], int(c["number"]), c["hash"]) for c in chains]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file} cannot be read as an anchor ({type(error).__name__}): it is a file with the"
            " output of `rag audit verify --json`.",
            code="no_anchor",
        ) from None
    return {head.tenant: head for head in heads}


def _lines(body: dict[str, Any]) -> output.Lines:
    if not body["chains"]:
        yield "The audit log is empty."
    for chain in body["chains"]:
        name = f"tenant {plain(chain['tenant'])}" if chain["tenant"] else "the service"
        state = chain["fault"] or "intact"
        yield f"{name}: {chain['rows']} rows, the last is {chain['number']}: {state}"
