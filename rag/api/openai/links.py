"""Addresses at which citations can be opened."""

from __future__ import annotations

from urllib.parse import quote

from rag.types import Citation, Scope


def address_of(citation: Citation, scope: Scope, *, public_url: str | None) -> str:
    """Returns the address of a cited document.

    That is its uri. If no browser can open that, and the service has a public URL, it is the
    original there, at the cited page.
    """
    if not public_url or citation.uri.startswith(("http://", "https://")):
        return citation.uri
    place = f"#page={citation.page}" if citation.page else ""
    document = quote(citation.document_id, safe="")
    collection = quote(scope.collection, safe="")
    return (
        f"{public_url.rstrip('/')}/v1/documents/{document}/content?collection={collection}{place}"
    )
