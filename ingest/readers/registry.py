"""Converts a file's bytes to a `Document`: one reader per kind of file, chosen by the bytes."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ingest.readers import (
    asciidoc,
    csv_rows,
    html,
    mail,
    markdown,
    media_types,
    office,
    rst,
    titles,
)
from ingest.readers.decoding import clean, decode, storable
from ingest.readers.media_types import damaged, media_type
from ingest.readers.options import DEFAULT_OPTIONS, ReadOptions
from ingest.readers.outline import Outline
from rag.errors import RagError, ReadError
from rag.text.uris import last_part
from rag.types import Document, Meta, MetaValue

_LONGEST_TITLE = 80
_FIRST_LINE = 4096
"""Characters in which a title is looked for."""
_MOST_NOTES, _LONGEST_NOTE = 10, 300
_DEEPEST = 3
"""Largest depth of messages within messages."""


def read(
    data: bytes,
    *,
    id: str,  # noqa: A002 - the field's name
    uri: str,
    name: str,
    title: str | None = None,
    meta: Meta | None = None,
    options: ReadOptions = DEFAULT_OPTIONS,
    depth: int = 0,
) -> Document:
    """Reads a file of any type in `MEDIA_TYPES`.

    Args:
        data: The whole file.
        id: Becomes `Document.id`.
        uri: Becomes `Document.uri`.
        name: The file's name; its extension decides between kinds of text.
        title: Overrides the title found in the document.
        meta: Overrides equal keys found in the document.
        options: How images are read, and whether what is hidden is.
        depth: The number of messages that the file lies in.

    Raises:
        ReadError: The bytes cannot be read, or the text is blank (`code="empty_document"`).
    """
    if not data:
        raise _empty(name)
    found = media_type(data, name=name)
    outline = _outline(data, found, name=name, options=options, depth=depth)
    if not outline.text.strip():
        raise _empty(name)
    first = next((heading.text for heading in outline.headings if heading.level == 1), "")
    return Document(
        id=id,
        version=hashlib.sha256(data).hexdigest(),
        uri=uri,
        media_type=found,
        title=title or titles.chosen(outline.title, first, name=name),
        text=outline.text,
        pages=outline.pages,
        headings=outline.headings,
        tables=outline.tables,
        furniture=outline.furniture,
        meta={**outline.meta, **_notes(outline), **(meta or {})},
        attachments=outline.attachments,
    )


def read_json(data: bytes, *, id: str, uri: str) -> Document:  # noqa: A002 - the field's name
    """Reads a document that was submitted as JSON: its text is not changed.

    Without a title, the first line is the title, or the last part of the uri.

    Raises:
        ReadError: It is not an object with a string `text`, an optional string `title` and a `meta`
            of strings, numbers, truth values and lists of them; or the text is blank
            (`code="empty_document"`), or holds NUL or a lone surrogate.
    """
    name = last_part(uri)
    fields = _json_object(data, name=name)
    text = fields["text"]
    if len(storable(text)) < len(text):
        raise ReadError(
            f"{name}: its text holds a NUL or half a character (a lone surrogate), which cannot be"
            " stored. Remove it, and send the document again."
        )
    if not clean(text).strip():
        raise _empty(name)
    title = clean(fields.get("title") or "").strip()
    return Document(
        id=id,
        version=hashlib.sha256(data).hexdigest(),
        uri=uri,
        media_type=media_types.TEXT,
        title=title or _first_line(text) or name,
        text=text,
        meta={key: _meta_value(key, value) for key, value in fields.get("meta", {}).items()},
    )


def _notes(outline: Outline) -> Meta:
    """Returns the reader's notes as metadata: the first few, each cut to a bounded length."""
    if not outline.notes:
        return {}
    return {"notes": tuple(note[:_LONGEST_NOTE] for note in outline.notes[:_MOST_NOTES])}


def _first_line(text: str) -> str:
    return clean(text[:_FIRST_LINE]).partition("\n")[0].strip()[:_LONGEST_TITLE]


def _outline(data: bytes, type_: str, *, name: str, options: ReadOptions, depth: int) -> Outline:
    def check(part: bytes, part_name: str) -> None:
        if depth == _DEEPEST:
            raise ReadError(f"{part_name}: lies in more than {_DEEPEST} messages.")
        if not part:
            raise _empty(part_name)
        media_type(part, name=part_name)

    try:
        return _by_type(data, type_, name=name, options=options, check=check)
    except (RagError, MemoryError):
        raise
    except Exception as error:  # damaged bytes can raise anything in a library
        raise damaged(name, f"it cannot be followed ({error!r})") from error


def _by_type(
    data: bytes, type_: str, *, name: str, options: ReadOptions, check: mail.Check
) -> Outline:
    match type_:
        case media_types.HTML:
            found = html.outline(data, name=name, hidden=options.hidden)
        case media_types.MARKDOWN:
            found = markdown.outline(decode(data, name=name), hidden=options.hidden)
        case media_types.RST:
            found = rst.outline(decode(data, name=name))
        case media_types.ASCIIDOC:
            found = asciidoc.outline(decode(data, name=name), hidden=options.hidden)
        case media_types.CSV:
            found = csv_rows.outline(decode(data, name=name), name=name)
        case media_types.MAIL:
            found = mail.outline(data, name=name, check=check)
        case media_types.MBOX:
            found = mail.mbox(data, check=check)
        case media_types.MSG:
            found = mail.msg(data, check=check)
        case media_types.TEXT:
            found = Outline(text=decode(data, name=name))
        case (
            media_types.XML
            | media_types.JATS
            | media_types.LATEX
            | media_types.NOTEBOOK
            | media_types.NDJSON
        ):
            text = decode(data, name=name).encode()
            found = office.outline(text, type_, name=name, options=options)
        case _ if type_ in media_types.BINARY:
            found = office.outline(data, type_, name=name, options=options)
        case _:
            raise NotImplementedError(f"No reader is registered for {type_}.")
    return found


def _json_object(data: bytes, *, name: str) -> dict[str, Any]:
    """Returns the fields, with their outer types checked."""
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
