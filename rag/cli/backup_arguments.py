"""The arguments of `rag backup` and `rag restore`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_backup(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Adds `rag backup`."""
    backup = commands.add_parser("backup", help="back up everything that is stored")
    tasks = backup.add_subparsers(dest="task", required=True, metavar="TASK")
    create = tasks.add_parser(
        "create",
        parents=[common],
        help="make a backup",
        description="Backs up catalog, index, uploads and original files as they are at one moment,"
        " beside a running service. What an earlier backup has stored is not stored again.",
    )
    _add_place(create)
    listed = tasks.add_parser("list", parents=[common], help="all backups, newest last")
    _add_place(listed)
    verify = tasks.add_parser(
        "verify", parents=[common], help="read a whole backup, and check every piece of it"
    )
    _add_id(verify)
    _add_place(verify)
    prune = tasks.add_parser("prune", parents=[common], help="remove all but the newest backups")
    prune.add_argument(
        "--keep", type=int, required=True, metavar="N", help="so many backups, the newest"
    )
    _add_place(prune)


def add_restore(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Adds `rag restore`."""
    restore = commands.add_parser(
        "restore",
        parents=[common],
        help="bring a backup back",
        description="Restores a backup into the data folder, which must be empty or missing, and"
        " into empty servers where the settings name some. Nothing is in place until all of it was"
        " written and checked.",
    )
    _add_id(restore)
    _add_place(restore)
    restore.add_argument(
        "--drill",
        action="store_true",
        help="restore it aside, compare its hits with the running service's, and remove it",
    )
    restore.add_argument(
        "--questions",
        type=Path,
        metavar="FILE",
        help="with --drill: questions, one a line (default: sentences of the backup)",
    )
    restore.add_argument(
        "--url", metavar="URL", help="with --drill: the service (default: the data folder's)"
    )


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", nargs="?", help="of `rag backup list` (default: the newest)")


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--place", metavar="PLACE", help="a folder or s3://BUCKET/PREFIX (default: backup.to)"
    )
