"""`rag chaos`: experiments with faults, on a test deployment of their own."""

from __future__ import annotations

import argparse
from ipaddress import ip_address
from urllib.parse import urlsplit

from rag.cli import output
from rag.cli.connection import own_errors
from rag.errors import InputError
from rag.operations.chaos.conduct import conduct
from rag.operations.chaos.deployment import Qdrant
from rag.operations.chaos.experiments import EXPERIMENTS
from rag.settings.tree import Settings


async def chaos(args: argparse.Namespace, settings: Settings) -> int:
    """Lists the experiments, or runs one; returns 1 if the steady state did not hold."""
    if args.experiment == "list":
        rows = [
            {"experiment": name, "what": each.what, "needs": each.topology}
            for name, each in EXPERIMENTS.items()
        ]
        output.show({"experiments": rows}, _listed, as_json=args.json)
        return 0
    qdrant = None if args.qdrant_url is None else _qdrant(args.qdrant_url, args.qdrant_grpc_port)
    if not args.i_know:
        raise InputError(
            f"{args.experiment} starts processes on this machine, loads them and breaks them: it"
            " takes most of two cores for minutes. If that harms nobody here, add --i-know."
        )
    with own_errors():
        report = await conduct(args.experiment, seconds=args.seconds, qdrant=qdrant)
    output.show(report.json(), _lines, as_json=args.json)
    return 0 if report.holds else 1


def _qdrant(url: str, grpc_port: int) -> Qdrant:
    """Checks the address of a Qdrant server.

    Raises:
        InputError: It is not on this machine.
    """
    host = urlsplit(url).hostname
    try:
        local = host is not None and (host == "localhost" or ip_address(host).is_loopback)
    except ValueError:
        local = False
    if not local:
        raise InputError(f"--qdrant-url {url!r} is not on this machine: http://127.0.0.1:6333 is.")
    return Qdrant(url=url, grpc_port=grpc_port)


def _listed(body: output.Json) -> output.Lines:
    for row in body["experiments"]:
        yield f"{row['experiment']:12} {row['needs']:8} {row['what']}"


def _lines(body: output.Json) -> output.Lines:
    for row in body["phases"]:
        yield (
            f"{row['phase']:7} {row['questions']:4} questions: {row['right']} right,"
            f" {row['wrong']} wrong, {row['failed']} failed; median {row['median_seconds']:.3f} s,"
            f" p95 {row['p95_seconds']:.3f} s"
        )
        for error, count in row["errors"].items():
            yield f"        {count} × {error}"
    counts = body["documents"]
    yield (
        f"documents: {counts['accepted']} accepted, {counts['lost']} lost, {counts['doubled']}"
        f" doubled, {counts['retried']} tried again; done {counts['settled_seconds']:.1f} s after"
    )
    for check in body["checks"]:
        if not check["holds"]:
            yield (
                f"DOES NOT HOLD: {check['what']} {check['phase']}: {check['measured']:g}, and"
                f" {check['allowed']:g} is allowed"
            )
    yield "The steady state held." if body["holds"] else "The steady state did not hold."
