"""The data stored beside the vectors in an index, and the paths by which filters address it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Literal, cast

from rag.types import Chunk, Meta, MetaValue, Scalar

FieldType = Literal["keyword", "number", "date", "flag"]
OWN_FIELDS: dict[str, FieldType] = {
    "document_id": "keyword",
    "title": "keyword",
    "uri": "keyword",
    "page": "number",
}
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?")


def payload_of(chunk: Chunk) -> dict[str, Any]:
    """Returns the chunk as JSON; its id is the point's."""
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
        "meta": {k: list(v) if isinstance(v, tuple) else v for k, v in chunk.meta.items()},
        "where": _where(chunk.meta),
    }


def chunk_of(chunk_id: str, payload: dict[str, Any]) -> Chunk:
    """Returns the chunk that `payload_of` was given."""
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
        page=payload.get("page"),  # Qdrant Edge leaves out what is rewritten as null
        headings=tuple(payload["headings"]),
        meta={k: tuple(v) if isinstance(v, list) else v for k, v in payload["meta"].items()},
    )


def field_kinds(metas: Iterable[Meta]) -> dict[tuple[str, FieldType], None]:
    """Returns every field with each kind of its values, in the order first seen."""
    return {(field, kind): None for meta in metas for field, kind, _ in values_of(meta)}


def values_of(meta: Meta) -> Iterator[tuple[str, FieldType, Scalar]]:
    """Yields every field with each of its values, once for each kind of the value."""
    for field, value in meta.items():
        for item in value if isinstance(value, tuple) else (value,):
            for kind in _kinds(item):
                yield field, kind, item


def field_type(value: MetaValue) -> FieldType:
    """Returns the type by which a value is compared."""
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int | float):
        return "number"
    return "date" if isinstance(value, str) and _is_date(value) else "keyword"


def path_of(field: str, kind: FieldType) -> str:
    """Returns the path in the payload of a field's values of one kind."""
    return field if field in OWN_FIELDS else f'where."{_key(field)}".{kind}'


def field_of(path: str) -> tuple[str, FieldType]:
    """Returns the field and the kind that `path_of` was given."""
    if path in OWN_FIELDS:
        return path, OWN_FIELDS[path]
    key, _, kind = path.removeprefix("where.").rpartition(".")
    return key.strip('"').replace("%22", '"').replace("%25", "%"), cast("FieldType", kind)


def word_of(value: Scalar) -> str | int | float:
    """Returns truth values as words: Qdrant Edge's filters read True as the integer 1."""
    return str(value).lower() if isinstance(value, bool) else value


def _where(meta: Meta) -> dict[str, dict[str, list[Any]]]:
    """Groups values by kind: an index on dates would read numbers as moments, and vice versa."""
    where: dict[str, dict[str, list[Any]]] = {}
    for field, kind, value in values_of(meta):
        where.setdefault(_key(field), {}).setdefault(kind, []).append(word_of(value))
    return where


def _kinds(item: Scalar) -> tuple[FieldType, ...]:
    kind = field_type(item)
    return ("keyword", "date") if kind == "date" else (kind,)


def _key(field: str) -> str:
    # A path cannot contain a quotation mark within a key.
    return field.replace("%", "%25").replace('"', "%22")


def _is_date(text: str) -> bool:
    if not _ISO_DATE.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
