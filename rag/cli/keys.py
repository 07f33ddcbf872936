"""`rag keys`: makes, lists, rotates and revokes API keys."""

from __future__ import annotations

import argparse
import sys

from rag.cli import output
from rag.client import AsyncClient, Key, KeyList, NewKey
from rag.text.plain import plain


async def keys(args: argparse.Namespace, client: AsyncClient) -> int:
    """Runs one of the tasks; a new key is printed to standard output, alone on its line."""
    match args.task:
        case "create":
            made = await client.create_key(
                args.name,
                args.scopes,
                collections=args.collections,
                subject=args.subject,
                groups=args.groups,
                expires_in=args.expires,
            )
            return _show_new(made, args)
        case "rotate":
            return _show_new(await client.rotate_key(args.id, overlap=args.overlap), args)
        case "revoke":
            output.show(await client.revoke_key(args.id), _key, as_json=args.json)
        case _:
            output.show(await client.list_keys(), _keys, as_json=args.json)
    return 0


def _show_new(made: NewKey, args: argparse.Namespace) -> int:
    if not args.json:
        print("The key is shown only now; send it as `Authorization: Bearer`.", file=sys.stderr)  # noqa: T201
    output.show(made, _new, as_json=args.json)
    return 0


def _new(body: NewKey) -> output.Lines:
    yield body.key


def _keys(body: KeyList) -> output.Lines:
    if not body.keys:
        yield "There are no keys: `rag keys create NAME` makes one."
    for each in body.keys:
        yield from _key(each)


def _key(body: Key) -> output.Lines:
    where = "all collections" if body.collections is None else ", ".join(body.collections)
    yield f"{body.id}  {plain(body.name)}: {', '.join(body.scopes)}; {where}"
    if body.subject or body.groups:
        yield f"    as {plain(', '.join([body.subject or 'nobody', *body.groups]))}"
    times = {
        "made": body.created_at,
        "used": body.last_used_at or "never",
        "expires": body.expires_at,
        "revoked": body.revoked_at,
        "the key before is accepted until": body.previous_until,
    }
    yield "    " + ", ".join(f"{name} {time}" for name, time in times.items() if time)
