"""The arguments of `rag tokens`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from rag.cli.eval.arguments import span

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_tokens(
    commands: Commands, host: argparse.ArgumentParser, url: argparse.ArgumentParser
) -> None:
    """Adds `rag tokens`."""
    tokens = commands.add_parser("tokens", help="tokens of issuers that are refused")
    tasks = tokens.add_subparsers(dest="task", required=True, metavar="TASK")
    both = [host, url]
    refuse = tasks.add_parser("refuse", parents=both, help="refuse tokens before they expire")
    _add_which(refuse)
    refuse.add_argument(
        "--expires", type=span, metavar="TIME",
        help="when the refusal ends: 12h, 30d (default), 52w …; not before the tokens do",
    )  # fmt: skip
    tasks.add_parser("list", parents=both, help="what is refused")
    _add_which(tasks.add_parser("allow", parents=both, help="end a refusal"))


def _add_which(task: argparse.ArgumentParser) -> None:
    task.add_argument(
        "kind",
        choices=("token", "subject"),
        help="one token, or all that a user or a program was issued before",
    )
    task.add_argument("value", help="the token's id (jti), or the subject")
