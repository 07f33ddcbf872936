"""The arguments of `rag rollout`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from rag.cli.eval.arguments import span

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

ACTIONS = {
    "promote": "take the next step now; after the last one, all questions are the variant's",
    "rollback": "send all questions to the base, and hold the variant for a day",
    "kill": "send all questions to the base, until `resume`",
    "resume": "go on as before `kill`",
    "restore": "undo a rollback within a day; needs --force",
}


def add_rollout(
    commands: Commands, host: argparse.ArgumentParser, url: argparse.ArgumentParser
) -> None:
    """Adds `rag rollout`."""
    rollout = commands.add_parser("rollout", help="which questions a variant answers")
    tasks = rollout.add_subparsers(dest="task", required=True, metavar="TASK")
    both = [host, url]
    tasks.add_parser("list", parents=both, help="all rollouts and variants")
    _named(tasks.add_parser("show", parents=both, help="one rollout, and what was seen"))
    _add_start(tasks.add_parser("start", parents=both, help="start a rollout, or start it again"))
    for action, says in ACTIONS.items():
        changing = tasks.add_parser(action, parents=both, help=says)
        _named(changing)
        _add_version(changing)
        changing.add_argument("--force", action="store_true", help="although it is held")
        _add_override(changing)
    deleting = tasks.add_parser("delete", parents=both, help="delete a rollout")
    _named(deleting)
    _add_version(deleting)
    _named(tasks.add_parser("arms", parents=both, help="compare the arms of an A/B test"))
    power = tasks.add_parser(
        "power", parents=both, help="the smallest differences that an A/B test finds"
    )
    power.add_argument("--questions", type=int, required=True, metavar="N", help="in both arms")
    power.add_argument("--percent", type=float, default=50.0, help="of the variant (default: 50)")


def _add_start(start: argparse.ArgumentParser) -> None:
    _named(start)
    start.add_argument("--kind", choices=("flag", "shadow", "canary", "ab"), required=True)
    start.add_argument("--variant", required=True, metavar="NAME", help="as the settings name it")
    start.add_argument("--percent", type=float, help="of the questions (default: 100; ab: 50)")
    start.add_argument("--tenants", type=_names, metavar="A,B", help="whose questions")
    start.add_argument("--keys", type=_names, metavar="A,B", help="ids of keys")
    start.add_argument("--steps", type=_percents, metavar="A,B", help="of a canary, up to 100")
    start.add_argument("--dwell", type=span, metavar="TIME", help="at each step: 30m, 1h, 2d …")
    start.add_argument("--questions", type=int, metavar="N", help="at each step, at least")
    start.add_argument("--force", action="store_true", help="also a variant that is held")
    _add_override(start)
    _add_version(start)


def _named(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="of the rollout")


def _add_override(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--override-freeze", metavar="REASON", help="although an error budget is spent, and why"
    )


def _add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--version-seen", type=int, metavar="N",
        help="refuse if it was changed since this version (default: the present one)",
    )  # fmt: skip


def _names(text: str) -> list[str]:
    return [name for part in text.split(",") if (name := part.strip())]


def _percents(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]
