"""Finds the document that an argument names."""

from __future__ import annotations

from rag.cli.argument_text import text_of
from rag.client import AsyncClient, Document, errors
from rag.errors import NotFoundError


async def find_document(client: AsyncClient, collection: str, name: str) -> Document:
    """Returns a document, by its id, its uri or the path of its file."""
    from ingest.sources.files import file_uri
    from rag.text.uris import document_id

    ids = dict.fromkeys((name, document_id(text_of(name)), document_id(file_uri(name))))
    for each in ids:
        try:
            return await client.get_document(each, collection=collection)
        except errors.NotFoundError as error:
            if error.code != "unknown_document":
                raise
    raise NotFoundError(
        f"There is no document {name!r} in collection {collection!r}; `rag status` lists them.",
        code="unknown_document",
    )
