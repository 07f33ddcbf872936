"""`rag tokens`: refuses tokens of issuers before they expire."""

from __future__ import annotations

import argparse

from rag.cli import output
from rag.client import AsyncClient, Refusal, RefusalList
from rag.text.plain import plain


async def tokens(args: argparse.Namespace, client: AsyncClient) -> int:
    """Runs one of the tasks."""
    match args.task:
        case "refuse":
            refused = await client.refuse_tokens(args.kind, args.value, expires_in=args.expires)
            output.show(refused, _refusal, as_json=args.json)
        case "allow":
            allowed = await client.allow_tokens(args.kind, args.value)
            output.show(allowed, _allowed, as_json=args.json)
        case _:
            output.show(await client.list_refused_tokens(), _refusals, as_json=args.json)
    return 0


def _refusals(body: RefusalList) -> output.Lines:
    if not body.refused:
        yield "No token is refused."
    for each in body.refused:
        yield from _refusal(each)


def _refusal(body: Refusal) -> output.Lines:
    which = f"the token {plain(body.value)}"
    if body.kind == "subject":
        which = f"tokens of {plain(body.value)} from before {body.refused_at}"
    yield f"tenant {body.tenant} refuses {which} until {body.expires_at}"


def _allowed(body: Refusal) -> output.Lines:
    yield f"tenant {body.tenant} no longer refuses {body.kind} {plain(body.value)}"
