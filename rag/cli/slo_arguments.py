"""The arguments of `rag slo`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_slo(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Adds `rag slo`."""
    slo = commands.add_parser(
        "slo",
        parents=[common],
        help="objectives: what is left of the error budgets",
        description="Asks the Prometheus of slo.prometheus_url what is left of the error budgets.",
    )
    tasks = slo.add_subparsers(dest="task", metavar="TASK")
    tasks.add_parser("rules", help="write the rules for Prometheus that measure them")
