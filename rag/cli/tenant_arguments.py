"""The arguments of `rag audit` and `rag tenants`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rag.cli.eval.arguments import span

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_audit(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Adds `rag audit`."""
    audit = commands.add_parser("audit", help="who did what: the audit log of this host's data")
    tasks = audit.add_subparsers(dest="task", required=True, metavar="TASK")
    verify = tasks.add_parser(
        "verify",
        parents=[common],
        help="find rows that are missing or were changed",
        description="Verifies the chain of each tenant. Exit code 0 where all are intact, 1 where"
        " not. Save the output of --json elsewhere: with --anchor, a later run finds rows missing"
        " at the end as well.",
    )
    _add_tenant(verify)
    verify.add_argument(
        "--anchor", type=Path, metavar="FILE", help="an earlier output of --json, to compare with"
    )
    export = tasks.add_parser(
        "export", parents=[common], help="print events in OCSF's format, a JSON object a line"
    )
    _add_tenant(export)
    export.add_argument(
        "--since", type=span, metavar="TIME", help="30m, 12h, 7d, 2w (default: all)"
    )


def add_tenants(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Adds `rag tenants`."""
    tenants = commands.add_parser("tenants", help="list, export and delete tenants' data")
    tasks = tenants.add_subparsers(dest="task", required=True, metavar="TASK")
    tasks.add_parser("list", parents=[common], help="all tenants, with what they have")
    export = tasks.add_parser(
        "export", parents=[common], help="write all that a tenant has into a zip file"
    )
    export.add_argument("tenant", help="its name")
    export.add_argument("--to", type=Path, required=True, metavar="FILE", help="a new zip file")
    delete = tasks.add_parser(
        "delete",
        parents=[common],
        help="delete all that a tenant has",
        description="Deletes all that a tenant has: documents, index, files, answers, jobs, keys"
        " and its audit log. A deletion that was cut short is finished by another one. The audit"
        " log of the service keeps a row of it.",
    )
    delete.add_argument("tenant", help="its name")
    delete.add_argument("--yes", action="store_true", help="do not ask for its name")


def _add_tenant(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tenant", metavar="NAME", help="one alone; '' is the service's own (default: all)"
    )
