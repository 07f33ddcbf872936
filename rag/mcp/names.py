"""Names in MCP: ids of results, URIs of resources, and cursors.

An id is `COLLECTION/DOCUMENT`: clients fetch a document by its id alone. Names of collections hold
neither `/` nor `.`, so an id and a cursor are split at the first of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit

from rag.client.documents import document_path
from rag.mcp.rest import RefusedError
from rag.settings.tree import COLLECTION
from rag.text.validation_errors import shortened

COLLECTION_URI = "plumbline://collections/{collection}{?cursor}"
DOCUMENT_URI = "plumbline://documents/{collection}/{document}{?start}"
URI_CHARS = 8000
_PLACE = re.compile("[0-9]{1,9}")
_SHOWN = re.compile("(?P<first>[0-9]{1,3})-(?P<further>[0-9]{1,3})-(?P<digest>[0-9a-f]{16})")


@dataclass(frozen=True, slots=True)
class DocumentName:
    """A document of a collection."""

    collection: str
    document: str

    @property
    def id(self) -> str:
        """The id that `search` returns and `fetch` takes."""
        return f"{self.collection}/{self.document}"

    @property
    def uri(self) -> str:
        """The URI of the document as a resource."""
        document = quote(self.document, safe="", errors="replace")
        return f"plumbline://documents/{self.collection}/{document}"

    @property
    def path(self) -> str:
        """The route of the document."""
        return document_path(self.document)


@dataclass(frozen=True, slots=True)
class CollectionPage:
    """A page of the documents of a collection, by the URI of a resource."""

    collection: str
    cursor: str | None


@dataclass(frozen=True, slots=True)
class DocumentPart:
    """The text of a document from a character on, by the URI of a resource."""

    name: DocumentName
    start: int


def document_of(id_: str) -> DocumentName:
    """Returns the document of an id.

    Raises:
        RefusedError: It is no id.
    """
    collection, slash, document = id_.partition("/")
    if not slash or not document or not re.fullmatch(COLLECTION, collection):
        raise RefusedError(
            f"{shortened(id_)!r} is no id of a document: ids have the form COLLECTION/DOCUMENT, as"
            " search returns them."
        )
    return DocumentName(collection, document)


def collection_uri(collection: str, cursor: str | None = None) -> str:
    """Returns the URI of a page of a collection as a resource."""
    page = f"?cursor={quote(cursor, safe='')}" if cursor else ""
    return f"plumbline://collections/{collection}{page}"


def resource_of(uri: str) -> CollectionPage | DocumentPart:
    """Returns what a resource's URI names.

    Raises:
        RefusedError: No resource has such a URI.
    """
    try:
        parts = urlsplit(uri[: URI_CHARS + 1])
        given = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    except ValueError:
        raise _no_uri(uri) from None
    path = parts.path.removeprefix("/")
    if len(uri) > URI_CHARS or parts.scheme != "plumbline" or not path:
        raise _no_uri(uri)
    if parts.netloc == "collections" and given.keys() <= {"cursor"}:
        return CollectionPage(unquote(path), given.get("cursor"))
    start = given.get("start", "0")
    if parts.netloc == "documents" and given.keys() <= {"start"} and _PLACE.fullmatch(start):
        collection, _, document = path.partition("/")
        return DocumentPart(document_of(f"{collection}/{unquote(document)}"), int(start))
    raise _no_uri(uri)


def cursor_in(collection: str, after: str | None) -> str | None:
    """Returns the cursor of a listing of one collection, from that of the REST API."""
    return None if after is None else f"{collection}.{after}"


def after_in(collection: str, cursor: str) -> str:
    """Returns the REST API's cursor of a cursor in a collection.

    Raises:
        RefusedError: It is a cursor of another listing.
    """
    of, dot, after = cursor.partition(".")
    if of == collection and dot:
        return after
    raise RefusedError(
        f"The cursor {shortened(cursor)!r} is not one that the collection"
        f" {shortened(collection)!r} gave. Leave it out to begin at the first page."
    )


class Shown(NamedTuple):
    """Numbers of passages that a search has given: on its first page, and on further ones."""

    first: int
    further: int


def search_cursor(collection: str, shown: Shown, question: str) -> str:
    """Returns the cursor of the passages of a question after those that are shown."""
    return f"{collection}.{shown.first}-{shown.further}-{_digest(question)}"


def shown_before(collection: str, cursor: str, question: str) -> Shown:
    """Returns what was shown before a cursor of `search_cursor`.

    Raises:
        RefusedError: It is a cursor of another collection or question.
    """
    found = _SHOWN.fullmatch(after_in(collection, cursor))
    if found and found["digest"] == _digest(question):
        return Shown(int(found["first"]), int(found["further"]))
    raise RefusedError(
        f"The cursor {shortened(cursor)!r} is not one that this search gave: a cursor holds for the"
        " same query and filters. Leave it out to begin at the first page."
    )


def _digest(question: str) -> str:
    return sha256(question.encode()).hexdigest()[:16]


def _no_uri(uri: str) -> RefusedError:
    return RefusedError(
        f"There is no resource {shortened(uri)!r}: resources are {COLLECTION_URI} and"
        f" {DOCUMENT_URI}."
    )
