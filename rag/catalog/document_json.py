"""Conversion of documents to the JSON that a catalog stores, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rag.types import Document, Heading, Meta, Table

Structure = Mapping[str, Any]


def structure_of(document: Document) -> Structure:
    """Returns the positions of a document's pages, headings, tables and furniture."""
    return {
        "pages": list(document.pages),
        "headings": [
            {"start": h.start, "level": h.level, "text": h.text} for h in document.headings
        ],
        "tables": [{"start": t.start, "end": t.end, "header": t.header} for t in document.tables],
        "furniture": [list(span) for span in document.furniture],
    }


def draft_of(document: Document) -> dict[str, Any]:
    """Returns the content of a document that was read and is not stored yet."""
    return {
        "version": document.version,
        "media_type": document.media_type,
        "title": document.title,
        "meta": dict(document.meta),
        "text": document.text,
        "structure": structure_of(document),
    }


def document_of(row: Mapping[str, Any], *, text: str, structure: Structure) -> Document:
    """Returns the document; `row` has its id, version, uri, media_type, title and meta."""
    return Document(
        id=row["id"],
        version=row["version"],
        uri=row["uri"],
        media_type=row["media_type"],
        title=row["title"],
        text=text,
        pages=tuple(structure["pages"]),
        headings=tuple(Heading(**heading) for heading in structure["headings"]),
        tables=tuple(Table(**table) for table in structure["tables"]),
        furniture=tuple((start, end) for start, end in structure["furniture"]),
        meta=_meta(row["meta"]),
    )


def stored_meta(meta: Meta) -> dict[str, Any]:
    """Returns metadata as it is once it was stored: its tuples are lists."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in meta.items()}


def _meta(stored: Mapping[str, Any]) -> Meta:
    """Returns stored metadata with its lists as tuples, which JSON does not distinguish."""
    return {
        key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()
    }
