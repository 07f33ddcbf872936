"""Resources: collections, each with a page of its documents, and the texts of documents."""

from __future__ import annotations

from mcp_types import (
    ListResourcesResult,
    ListResourceTemplatesResult,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextResourceContents,
)

from rag.mcp import results
from rag.mcp.names import (
    COLLECTION_URI,
    DOCUMENT_URI,
    CollectionPage,
    DocumentPart,
    after_in,
    collection_uri,
    cursor_in,
    resource_of,
)
from rag.mcp.rest import Rest
from rag.mcp.tools import PAGE, collections, read

JSON, TEXT = "application/json", "text/plain"
TEMPLATES = (
    ResourceTemplate(
        name="collection",
        title="Documents of a collection",
        uri_template=COLLECTION_URI,
        description=f"A collection, {PAGE} documents at once; `next` is the URI of the next page.",
        mime_type=JSON,
    ),
    ResourceTemplate(
        name="document",
        title="Text of a document",
        uri_template=DOCUMENT_URI,
        description="The text of a document, from the character `start` on.",
        mime_type=TEXT,
    ),
)


async def list_resources(rest: Rest, cursor: str | None) -> ListResourcesResult:
    """Lists the collections; their documents are too many to list, and found by reading them."""
    page = await collections(rest, cursor)
    listed = [
        Resource(
            name=each.name,
            uri=each.uri,
            description=f"A collection of {each.documents} documents.",
            mime_type=JSON,
        )
        for each in page.collections
    ]
    return ListResourcesResult(resources=listed, next_cursor=page.next_cursor)


async def list_templates() -> ListResourceTemplatesResult:
    """Lists the URIs that resources have."""
    return ListResourceTemplatesResult(resource_templates=list(TEMPLATES))


async def read_resource(rest: Rest, uri: str) -> ReadResourceResult:
    """Returns a page of a collection as JSON, or a part of the text of a document.

    Raises:
        RefusedError: There is no such resource, or the caller may not read it.
    """
    named = resource_of(uri)
    if isinstance(named, CollectionPage):
        page = await _page(rest, named)
        text = page.model_dump_json()
        return ReadResourceResult(
            contents=[TextResourceContents(uri=uri, mime_type=JSON, text=text)]
        )
    return await _part(rest, uri, named)


async def _page(rest: Rest, page: CollectionPage) -> results.DocumentsResult:
    asked: dict[str, str | int] = {"collection": page.collection, "limit": PAGE}
    if page.cursor is not None:
        asked["cursor"] = after_in(page.collection, page.cursor)
    listed = await rest.get("/v1/documents", **asked)
    more = cursor_in(page.collection, listed["next_cursor"])
    return results.DocumentsResult(
        collection=page.collection,
        documents=[
            results.document_item(each, page.collection, rest.public_url)
            for each in listed["documents"]
        ],
        next=collection_uri(page.collection, more) if more else None,
    )


async def _part(rest: Rest, uri: str, part: DocumentPart) -> ReadResourceResult:
    found = await read(rest, part.name, part.start)
    contents = [TextResourceContents(uri=uri, mime_type=TEXT, text=found.text)]
    if found.next_start is not None:
        told = f"Characters {found.next_start:,} to {found.characters:,} are at this URI."
        further = f"{part.name.uri}?start={found.next_start}"
        contents.append(TextResourceContents(uri=further, mime_type=TEXT, text=told))
    return ReadResourceResult(contents=[*contents])
