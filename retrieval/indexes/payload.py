"""The data stored beside the vectors in an index, and the paths by which filters address it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, cast

from rag.types import Chunk, Meta, MetaValue, Point, Scalar
from rag.types.acl import Readers
from retrieval.indexes.moments import iso_of, moment_of

FieldType = Literal["keyword", "number", "date", "flag"]
OWN_FIELDS: dict[str, FieldType] = {
    "document_id": "keyword",
    "title": "keyword",
    "uri": "keyword",
    "page": "number",
}


ACL = "acl"
"""Field of the words of a chunk's readers. No filter of a question may name it."""


def payload_of(point: Point) -> dict[str, Any]:
    """Returns a point's chunk and ACL as JSON; its id is the point's."""
    chunk = point.chunk
    return {
        ACL: sorted(point.acl),
        "document_id": chunk.document_id,
        "version": chunk.version,
        "position": chunk.position,
        "text": chunk.text,
        "start": chunk.start,
        "end": chunk.end,
        "title": chunk.title,
        "uri": chunk.uri,
        "page": chunk.page,
        "page_starts": list(chunk.page_starts),
        "headings": list(chunk.headings),
        "meta": {k: list(v) if isinstance(v, tuple) else v for k, v in chunk.meta.items()},
        "where": _where(chunk.meta),
    }


def chunk_of(chunk_id: str, payload: dict[str, Any]) -> Chunk:
    """Returns the chunk of the point that `payload_of` was given."""
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
        page_starts=tuple(payload.get("page_starts", ())),
        headings=tuple(payload["headings"]),
        meta={k: tuple(v) if isinstance(v, list) else v for k, v in payload["meta"].items()},
    )


def acl_of(payload: Mapping[str, Any]) -> Readers:
    """Returns the words of those who may read a point with this payload."""
    return frozenset(payload.get(ACL) or ())


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
    return "date" if isinstance(value, str) and moment_of(value) else "keyword"


def kind_in(field: str, value: Scalar) -> FieldType | None:
    """Returns the type by which a field compares a value; None if it compares no such values.

    The chunk's own fields have one type each: a date is a word where they hold words.
    """
    kind, own = field_type(value), OWN_FIELDS.get(field)
    if own == "keyword" and kind == "date":
        return own
    return kind if own in (None, kind) else None


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


def date_of(value: Scalar) -> str:
    """Returns a date in the spelling that every index reads alike.

    Raises:
        ValueError: It is none: `field_type` gives another kind.
    """
    moment = moment_of(value) if isinstance(value, str) else None
    if moment is None:
        raise ValueError(f"{value!r} is no date")
    return iso_of(moment)


def _where(meta: Meta) -> dict[str, dict[str, list[Any]]]:
    """Groups values by kind: an index on dates would read numbers as moments, and vice versa."""
    where: dict[str, dict[str, list[Any]]] = {}
    for field, kind, value in values_of(meta):
        stored = date_of(value) if kind == "date" else word_of(value)
        where.setdefault(_key(field), {}).setdefault(kind, []).append(stored)
    return where


def _kinds(item: Scalar) -> tuple[FieldType, ...]:
    kind = field_type(item)
    return ("keyword", "date") if kind == "date" else (kind,)


def _key(field: str) -> str:
    # A path cannot contain a quotation mark within a key.
    return field.replace("%", "%25").replace('"', "%22")
