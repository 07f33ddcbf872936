"""`rag slo`: what is left of the error budgets, and the rules that measure them."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict

from rag.cli import output
from rag.operations.slo.error_budgets import read_budgets
from rag.operations.slo.rules import rule_file
from rag.settings.tree import Settings


async def slo(args: argparse.Namespace, settings: Settings) -> int:
    """Prints the rules, or a table of the budgets."""
    if args.task == "rules":
        sys.stdout.write(rule_file(settings.slo))
        return 0
    budgets = await read_budgets(settings.slo)
    rows = [asdict(each) | {"spent": each.spent} for each in budgets]
    body = {"days": settings.slo.days, "budgets": rows}
    output.show(body, _table, as_json=args.json)
    return 0


def _table(body: output.Json) -> output.Lines:
    heading = ("job", "objective", "target", f"left of {body['days']} d", "burns, last hour")
    yield from output.table([heading, *(_row(each) for each in body["budgets"])])
    if spent := [each["sli"] for each in body["budgets"] if each["spent"]]:
        yield f"Spent: {', '.join(spent)}. Rollouts are refused until it is not."


def _row(budget: output.Json) -> tuple[str, ...]:
    remaining, burn = budget["remaining"], budget["burn"]
    return (
        *(budget["job"], budget["sli"], budget["target"]),
        "too few events" if remaining is None else f"{remaining:.1%}",
        "no events" if burn is None else f"{burn:.1f} ×",
    )
