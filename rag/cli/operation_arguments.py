"""Arguments of the commands for operators."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


EXPERIMENTS = (
    *("kill-worker", "kill-engine", "stop-broker", "slow-index"),
    *("fill-disk", "clock", "partition"),
)
"""The names of `rag.operations.chaos.experiments`, which is imported only to run one."""
MAX_SECONDS = 600


def add_operations(
    commands: Commands, common: argparse.ArgumentParser, url: argparse.ArgumentParser
) -> None:
    """Adds `rag synthetic` and `rag chaos`."""
    commands.add_parser(
        "synthetic",
        parents=[common, url],
        help="ingest, ask about and delete a made-up phrase on a server",
        description="Runs the synthetic canary once: it ingests a made-up phrase on the server at"
        " --url, asks about it, deletes it, and checks that nothing of it remains. RAG_API_KEY is a"
        " key of its own tenant (synthetic.tenant), with the scopes ask, read and write. Exit code"
        " 0 if all was well, 1 if not.",
    )
    chaos = commands.add_parser(
        "chaos",
        parents=[common],
        help="break a test deployment under load, and see whether it holds",
        description="Starts a test deployment of its own in a temporary folder, on loopback, loads"
        " it steadily, breaks something, and mends it. Says whether the steady state held before,"
        " during and after. `rag chaos list` names the experiments. Those of a cluster start"
        " PostgreSQL and Redis, and need a Qdrant server on this machine. Exit code 0 if the steady"
        " state held, 1 if not.",
    )
    chaos.add_argument("experiment", choices=("list", *EXPERIMENTS), metavar="NAME", help="or list")
    chaos.add_argument("--i-know", action="store_true", help="load and break things here")
    chaos.add_argument(
        "--seconds", type=_seconds, default=10.0, metavar="N", help="of each phase (default: 10)"
    )
    chaos.add_argument("--qdrant-url", metavar="URL", help="a Qdrant server on this machine")
    chaos.add_argument(
        "--qdrant-grpc-port", type=int, default=6334, metavar="N", help="its port (default: 6334)"
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not from 1 to {MAX_SECONDS} seconds")
    return seconds
