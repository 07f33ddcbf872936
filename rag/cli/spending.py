"""`rag usage`: what was used, and what it cost."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import datetime

from rag.cli import output
from rag.cli.connection import connect
from rag.settings.tree import Settings
from rag.text.plain import plain

_NUMBERS = ("requests", "input_tokens", "output_tokens", "cached_tokens", "cost")
_HEADINGS = ("requests", "tokens in", "out", "cached", "cost")


async def usage(args: argparse.Namespace, settings: Settings) -> int:
    """Shows a table; on the host all tenants, through a server what the key may see."""
    if args.url:
        async with connect(args.url) as client:
            since = args.since and args.since.isoformat(timespec="seconds")
            body = output.json_of(await client.get_usage(by=args.by, since=since))
    else:
        body = await _of_host(args, settings)
    output.show(body | {"by": args.by}, _table, as_json=args.json)
    return 0


async def _of_host(args: argparse.Namespace, settings: Settings) -> output.Json:
    from rag.build.storage import open_beside
    from rag.cli.scope import caller
    from rag.gateway.reports import period_of, report

    of = None if args.tenant is None else caller(args)
    async with open_beside(settings) as storage:
        return await report(storage.catalog.usage, period_of(of, since=args.since), args.by)


def since(text: str) -> datetime:
    """Reads a date such as 2026-11-01, or a span such as 30d that ends now."""
    from datetime import UTC, timedelta

    from rag.cli.eval.arguments import span

    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return datetime.now(UTC) - timedelta(seconds=span(text))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def groups(text: str) -> list[str]:
    """Reads names of groups, separated by commas."""
    from rag.catalog.usage import GROUPS

    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in GROUPS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(GROUPS)}")
    return names


def _table(body: output.Json) -> output.Lines:
    yield f"From {body['since']} to {body['until']}:"
    yield ""
    if body["total"] is None:
        yield "Nothing was used."
        return
    rows = [_row(each, body["by"]) for each in body["groups"]]
    rows.append(["total", *[""] * (len(body["by"]) - 1), *_numbers(body["total"])])
    heading = [*(body["by"] or [""]), *_HEADINGS]
    yield from output.table([heading, *rows], numbers=len(_NUMBERS))
    if interrupted := body["total"]["interrupted"]:
        yield ""
        yield f"{interrupted:,} requests were interrupted: what they used is not known."
    for each in body["outliers"]:
        yield f"Unusual: {each['cost']:.4f} at {each['started_at']}, trace {each['trace_id']}."


def _row(found: output.Json, by: Sequence[str]) -> list[str]:
    return [*(plain(str(found[name])) or "–" for name in by), *_numbers(found)]


def _numbers(found: output.Json) -> list[str]:
    return [f"{found[name]:,.4f}" if name == "cost" else f"{found[name]:,}" for name in _NUMBERS]
