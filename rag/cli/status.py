"""`rag status`."""

from __future__ import annotations

import argparse

from rag.cli import output
from rag.cli.find_document import find_document
from rag.client.http import Client, Json, all_documents


async def status(args: argparse.Namespace, client: Client) -> int:
    """Shows collections and documents, or one document."""
    if args.document:
        _, document = await find_document(client, args.collection, args.document)
        output.show(document, output.document, as_json=args.json)
        return 0
    collections = (await client.get("/v1/collections"))["collections"]
    documents: list[Json] = []
    if any(c["name"] == args.collection for c in collections):
        only = {"state": "failed"} if args.failed else {}
        documents = [each async for each in all_documents(client, args.collection, **only)]
    body = {"collections": collections, "collection": args.collection, "documents": documents}
    output.show(body, output.status, as_json=args.json)
    return 0
