"""A file's bytes → a `Document`: one reader per kind of text, chosen by the file's extension."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from ingest import markdown, rst, webpage
from ingest.decoding import clean, decode
from ingest.outline import Outline
from rag.errors import ReadError
from rag.types import Document, Meta, MetaValue

MEDIA_TYPES: Mapping[str, str] = MappingProxyType(
    {
        ".txt": "text/plain",
        ".text": "text/plain",
        ".md": "text/markdown",
        ".markdown": "text/markdown",
        ".rst": "text/x-rst",
        ".html": "text/html",
        ".htm": "text/html",
    }
)
"""What can be read: the media type of each file extension, in lower case."""

JSON_DOCUMENT = "application/json+document"
"""Media type of documents that arrive as `{"title": …, "text": …, "meta": {…}}`."""

_LONGEST_TITLE = 80


def document_id(uri: str) -> str:
    """The id of the document at `uri`: the same place, the same document."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, uri))


def read(
    data: bytes,
    *,
    id: str,  # noqa: A002 - the field's name
    uri: str,
    name: str,
    title: str | None = None,
    meta: Meta | None = None,
) -> Document:
    """Reads a text, Markdown, reStructuredText or HTML file.

    Args:
        data: The whole file.
        id: Becomes `Document.id`.
        uri: Becomes `Document.uri`.
        name: The file's name. Its extension decides how the bytes are read; without one, they
            are plain text.
        title: Goes before the one found in the document.
        meta: Goes before equal keys found in the document.

    Raises:
        ReadError: The extension is unknown, the bytes are no text, or the text is blank
            (`code="empty_document"`).
    """
    media_type = _media_type(name)
    outline = _outline(data, media_type, name=name)
    if not outline.text.strip():
        raise _empty(name)
    first = next((heading.text for heading in outline.headings if heading.level == 1), "")
    return Document(
        id=id,
        version=hashlib.sha256(data).hexdigest(),
        uri=uri,
        media_type=media_type,
        title=title or outline.title or first or name,
        text=outline.text,
        headings=outline.headings,
        furniture=outline.furniture,
        meta={**outline.meta, **(meta or {})},
    )


def read_json(data: bytes, *, id: str, uri: str) -> Document:  # noqa: A002 - the field's name
    """Reads a document that was submitted as JSON: its text is taken as plain text.

    Without a title, the first line stands in, or the last part of the uri.

    Raises:
        ReadError: Not an object with a string `text`, an optional string `title` and a `meta` of
            strings, numbers, truth values and lists of them; or the text is blank
            (`code="empty_document"`).
    """
    name = uri.rstrip("/").rpartition("/")[2] or uri
    fields = _json_object(data, name=name)
    text = clean(fields["text"])
    if not text.strip():
        raise _empty(name)
    title = clean(fields.get("title") or "").strip()
    return Document(
        id=id,
        version=hashlib.sha256(data).hexdigest(),
        uri=uri,
        media_type=MEDIA_TYPES[".txt"],
        title=title or text.partition("\n")[0].strip()[:_LONGEST_TITLE] or name,
        text=text,
        meta={key: _meta_value(key, value) for key, value in fields.get("meta", {}).items()},
    )


def _media_type(name: str) -> str:
    suffix = PurePath(name).suffix.lower()
    if not suffix:
        return MEDIA_TYPES[".txt"]
    if suffix not in MEDIA_TYPES:
        raise ReadError(
            f"{name}: files of type {suffix} cannot be read; {', '.join(MEDIA_TYPES)} can. "
            "Convert it to one of these and ingest that."
        )
    return MEDIA_TYPES[suffix]


def _outline(data: bytes, media_type: str, *, name: str) -> Outline:
    match media_type:
        case "text/html":
            return webpage.outline(data, name=name)
        case "text/markdown":
            return markdown.outline(decode(data, name=name))
        case "text/x-rst":
            return rst.outline(decode(data, name=name))
        case _:
            return Outline(text=decode(data, name=name))


def _json_object(data: bytes, *, name: str) -> dict[str, Any]:
    """The fields, their outer types checked."""
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ReadError(f"{name}: not valid JSON: {error}") from error
    if (
        isinstance(fields, dict)
        and isinstance(fields.get("text"), str)
        and isinstance(fields.get("title"), str | None)
        and isinstance(fields.get("meta", {}), dict)
    ):
        return fields
    raise ReadError(
        f'{name}: a JSON document is {{"title": string or null, "text": string, "meta": object}}.'
    )


def _meta_value(key: str, value: object) -> MetaValue:
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, list) and all(isinstance(each, str | int | float) for each in value):
        return tuple(value)
    raise ReadError(f"meta {key!r}: a string, number, truth value or a list of them is allowed.")


def _empty(name: str) -> ReadError:
    return ReadError(f"{name}: the document holds no text.", code="empty_document")
