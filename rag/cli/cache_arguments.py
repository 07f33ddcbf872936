"""The arguments of `rag cache`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rag.cli.eval.arguments import span

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_cache(commands: Commands, within: argparse.ArgumentParser) -> None:
    """Adds `rag cache`."""
    cache = commands.add_parser("cache", help="the answer cache: when do questions ask the same")
    tasks = cache.add_subparsers(dest="task", required=True, metavar="TASK")
    calibrate = tasks.add_parser(
        "calibrate",
        parents=[within],
        help="fit answer_cache.similarity to the questions that were asked",
        description="Makes rewordings and near misses of the questions that were answered, and"
        " finds the lowest cosine at which at most 0.5 % of the near misses get the answer of"
        " another question, with a certainty of 95 %, and at least 40 % of the rewordings get"
        " theirs. Prints the setting. Exit code 1 if there is none.",
    )
    calibrate.add_argument(
        "--since", type=span, default=span("30d"), metavar="TIME",
        help="questions of the last 12h, 30d (default), 52w …",
    )  # fmt: skip
    calibrate.add_argument(
        "--set",
        metavar="SET",
        help="a set of questions instead: a folder, .jsonl file or irds:NAME",
    )
    calibrate.add_argument("--plot", type=Path, metavar="FILE", help="draw the curve, as PNG")
