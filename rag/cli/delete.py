"""`rag delete`."""

from __future__ import annotations

import argparse

from rag.cli import output
from rag.cli.argument_text import text_of
from rag.cli.find_document import find_document
from rag.cli.progress import activity
from rag.client import AsyncClient
from rag.errors import InputError


async def delete(args: argparse.Namespace, client: AsyncClient) -> int:
    """Removes documents, or a collection; all are looked up before the first is removed.

    Raises:
        InputError: Neither documents nor `--all` are named, or both.
    """
    if args.all == bool(args.documents):
        raise InputError("Name the documents to delete, or --all for the collection itself.")
    if args.all:
        with activity("Deleting", quiet=args.json):
            await client.delete_collection(args.collection)
        output.show({"deleted": [args.collection]}, output.deleted, as_json=args.json)
        return 0
    found = [await find_document(client, args.collection, name) for name in args.documents]
    with activity("Deleting", quiet=args.json):
        for each in found:
            await client.delete_document(each.id, collection=args.collection)
    output.show(
        {"deleted": [text_of(name) for name in args.documents]}, output.deleted, as_json=args.json
    )
    return 0
