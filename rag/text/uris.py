"""The id and the name of a document, from its uri."""

from __future__ import annotations

import uuid


def document_id(uri: str) -> str:
    """Returns the id of the document at `uri`: the same place, the same document."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, uri))


def last_part(uri: str) -> str:
    """Returns the end of a uri, for messages."""
    return uri.rstrip("/").rpartition("/")[2] or uri
