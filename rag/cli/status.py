"""`rag status`."""

from __future__ import annotations

import argparse

from rag.cli import output
from rag.cli.connection import PAGE
from rag.cli.find_document import find_document
from rag.cli.progress import activity
from rag.client import AsyncClient


async def status(args: argparse.Namespace, client: AsyncClient) -> int:
    """Shows collections and documents, or one document."""
    if args.document:
        document = await find_document(client, args.collection, args.document)
        output.show(document, output.document, as_json=args.json)
        return 0
    collections = output.json_of(await client.list_collections())["collections"]
    documents: list[output.Json] = []
    if any(c["name"] == args.collection for c in collections):
        found = client.all_documents(
            collection=args.collection, limit=PAGE, state="failed" if args.failed else None
        )
        with activity("Reading", quiet=args.json):
            documents = [output.json_of(each) async for each in found]
    body = {"collections": collections, "collection": args.collection, "documents": documents}
    output.show(body, output.status, as_json=args.json)
    return 0
