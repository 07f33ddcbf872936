"""Addresses at which citations and passages can be opened."""

from __future__ import annotations

from urllib.parse import quote

from rag.types import Chunk, Citation, Scope


def address_of(place: Citation | Chunk, scope: Scope, *, public_url: str | None) -> str:
    """Returns the address of the document that a citation or a passage is of.

    That is its uri. If no browser can open that, and the service has a public URL, it is the
    original there, at the page.
    """
    if not public_url or place.uri.startswith(("http://", "https://")):
        return place.uri
    page = f"#page={place.page}" if place.page else ""
    document = quote(place.document_id, safe="")
    collection = quote(scope.collection, safe="")
    return f"{public_url.rstrip('/')}/v1/documents/{document}/content?collection={collection}{page}"
