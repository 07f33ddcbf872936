"""The arguments of `rag serve`, `rag worker` and `rag migrate`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

MAX_PORT = 65_535


def add_processes(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Adds the commands that run until they are stopped, and the one that precedes them."""
    serve = commands.add_parser("serve", parents=[common], help="serve the REST API")
    serve.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    serve.add_argument(
        "--port", type=_port, help="port to listen on (default: 8000); 0: a free one"
    )
    worker = commands.add_parser("worker", parents=[common], help="ingest what a broker hands out")
    only = worker.add_mutually_exclusive_group()
    only.add_argument(
        "--batches", action="store_true", help="answer lines of batches, and ingest nothing"
    )
    only.add_argument(
        "--stage",
        choices=("parse", "embed"),
        help="do this stage of a document's way alone, where others do the rest",
    )
    worker.add_argument(
        "--priority",
        choices=("interactive", "bulk"),
        help="take documents of this priority alone, where others take the rest",
    )
    commands.add_parser(
        "migrate",
        parents=[common],
        help="bring the catalog to this version's tables",
        description="Brings the tables of the catalog to this version's, before the processes of"
        " this version start. Each of them does so itself otherwise, one at a time.",
    )


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to {MAX_PORT}")
    return int(text)
