"""`rag synthetic`: one run of the synthetic canary."""

from __future__ import annotations

import argparse

from rag.cli import output
from rag.cli.connection import connect
from rag.errors import InputError
from rag.operations.synthetic.one_run import run
from rag.settings.tree import Settings


async def synthetic(args: argparse.Namespace, settings: Settings) -> int:
    """Shows the steps of a run and their times; returns 1 if it failed."""
    if not args.url:
        raise InputError("The synthetic canary calls a server as users do: name it with --url.")
    async with connect(args.url) as client:
        report = await run(client, tenant=settings.synthetic.tenant)
    body = {
        "succeeded": report.succeeded,
        "failure": report.failure,
        "steps": [{"step": name, "seconds": took} for name, took in report.steps.items()],
    }
    output.show(body, _lines, as_json=args.json)
    return 0 if report.succeeded else 1


def _lines(body: output.Json) -> output.Lines:
    for step in body["steps"]:
        yield f"{step['step']:8} {step['seconds']:7.3f} s"
    yield "All is well." if body["succeeded"] else f"Failed at {body['failure']}."
