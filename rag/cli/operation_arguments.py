"""Arguments of the commands for operators."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_operations(
    commands: Commands, common: argparse.ArgumentParser, url: argparse.ArgumentParser
) -> None:
    """Adds `rag synthetic`."""
    commands.add_parser(
        "synthetic",
        parents=[common, url],
        help="ingest, ask about and delete a made-up phrase on a server",
        description="Runs the synthetic canary once: it ingests a made-up phrase on the server at"
        " --url, asks about it, deletes it, and checks that nothing of it remains. RAG_API_KEY is a"
        " key of its own tenant (synthetic.tenant), with the scopes ask, read and write. Exit code"
        " 0 if all was well, 1 if not.",
    )
