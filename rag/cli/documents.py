"""`rag status` and `rag delete`."""

from __future__ import annotations

import argparse
from urllib.parse import quote

from rag.cli import output
from rag.cli.arguments import text_of
from rag.client.http import Client, Json, all_documents
from rag.errors import InputError, NotFoundError


async def status(args: argparse.Namespace, client: Client) -> int:
    """Shows collections and documents, or one document."""
    if args.document:
        _, document = await _find(client, args.collection, args.document)
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


async def delete(args: argparse.Namespace, client: Client) -> int:
    """Removes documents; all of them are looked up before the first is removed."""
    found = [(await _find(client, args.collection, name))[0] for name in args.documents]
    for path in found:
        await client.delete(path, collection=args.collection)
    output.show(
        {"deleted": [text_of(name) for name in args.documents]}, output.deleted, as_json=args.json
    )
    return 0


async def _find(client: Client, collection: str, name: str) -> tuple[str, Json]:
    """Returns the route and record of a document, by its id, its uri or the path of its file."""
    from ingest.readers.registry import document_id
    from ingest.sources.files import file_uri

    ids = dict.fromkeys((name, document_id(text_of(name)), document_id(file_uri(name))))
    for each in ids:
        path = f"/v1/documents/{quote(each, errors='replace')}"
        try:
            return path, await client.get(path, collection=collection)
        except InputError as error:
            if error.code != "unknown_document":
                raise
    raise NotFoundError(
        f"There is no document {name!r} in collection {collection!r}; `rag status` lists them.",
        code="unknown_document",
    )
