"""What stands beside the vectors in an index, and how filters address it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from rag.types import Chunk, Meta, MetaValue, Scalar

FieldType = Literal["keyword", "number", "date", "flag"]
OWN_FIELDS: dict[str, FieldType] = {
    "document_id": "keyword",
    "title": "keyword",
    "uri": "keyword",
    "page": "number",
}
ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?")


def payload_of(chunk: Chunk) -> dict[str, Any]:
    """The chunk as JSON; its id is the point's."""
    return {
        "document_id": chunk.document_id,
        "version": chunk.version,
        "position": chunk.position,
        "text": chunk.text,
        "start": chunk.start,
        "end": chunk.end,
        "title": chunk.title,
        "uri": chunk.uri,
        "page": chunk.page,
        "headings": list(chunk.headings),
        "meta": {key: _stored(value) for key, value in chunk.meta.items()},
    }


def chunk_of(chunk_id: str, payload: dict[str, Any]) -> Chunk:
    """The chunk that `payload_of` was given."""
    return Chunk(
        id=chunk_id,
        document_id=payload["document_id"],
        version=payload["version"],
        position=payload["position"],
        text=payload["text"],
        start=payload["start"],
        end=payload["end"],
        title=payload["title"],
        uri=payload["uri"],
        page=payload["page"],
        headings=tuple(payload["headings"]),
        meta={key: _loaded(value) for key, value in payload["meta"].items()},
    )


def field_types(metas: Sequence[Meta]) -> dict[str, FieldType]:
    """Every field of these, with the type of the first value seen."""
    types: dict[str, FieldType] = {}
    for meta in metas:
        for key, value in meta.items():
            first = value[0] if isinstance(value, tuple) and value else value
            types.setdefault(key, field_type(first))
    return types


def field_type(value: MetaValue) -> FieldType:
    """How a value is compared."""
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int | float):
        return "number"
    return "date" if isinstance(value, str) and ISO_DATE.fullmatch(value) else "keyword"


def path_of(field: str, kind: FieldType) -> str:
    """Where a field lies in the payload."""
    if field in OWN_FIELDS:
        return field
    return f'meta."{field}".flag' if kind == "flag" else f'meta."{field}"'


def _stored(value: MetaValue) -> Any:
    # Qdrant Edge's filters read True as the integer 1, so booleans are stored as words.
    if isinstance(value, bool):
        return {"flag": str(value).lower()}
    return list(value) if isinstance(value, tuple) else value


def _loaded(value: Any) -> MetaValue:
    if isinstance(value, dict):
        return bool(value["flag"] == "true")
    items: tuple[Scalar, ...] | Scalar = tuple(value) if isinstance(value, list) else value
    return items
