"""The result of a reader: the part of a `Document` that depends on its format."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from rag.types import Attachment, Heading, Meta, Table

Line = tuple[int, str]
"""A line of a text, and its offset."""

_FIELD = re.compile(r":?([A-Za-z][\w -]{0,60}?):(?:[ \t]+(.*))?")
_QUOTES = "\"'"
_DATES = ("%Y-%m-%d", "%d-%b-%Y")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """A text and its mark-up, in the terms of `Document`; no title is "".

    `notes` are sentences for the document's record: what was left out, what could not be read.
    """

    text: str
    title: str = ""
    pages: tuple[int, ...] = ()
    headings: tuple[Heading, ...] = ()
    tables: tuple[Table, ...] = ()
    furniture: tuple[tuple[int, int], ...] = ()
    meta: Meta = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()


def lines_of(text: str, start: int = 0) -> Iterator[Line]:
    r"""The lines from offset `start` on, each with its offset and without its `\n`."""
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        yield start, text[start:end]
        start = end + 1


def parse_fields(lines: list[str]) -> dict[str, str] | None:
    """Reads header lines like `Created: 05-Jul-2001` or `:Author: Guido` as metadata.

    An indented line, or one that begins with "- ", continues the field above it. Keys become lower
    case with underscores, dates become ISO; fields without a value are left out.

    Returns:
        The fields, or None if a line is neither a field nor a continuation.
    """
    values: dict[str, list[str]] = {}
    key = None
    for line in lines:
        found = _FIELD.fullmatch(line)
        if found:
            key = field_name(found[1])
            values[key] = [(found[2] or "").strip()]
        elif key and line.startswith((" ", "\t", "- ")):
            values[key].append(line.strip().removeprefix("- "))
        elif line.strip() and not line.startswith("#"):
            return None
    joined = {key: " ".join(filter(None, parts)) for key, parts in values.items()}
    return {key: _value(value) for key, value in joined.items() if value}


def field_name(key: str) -> str:
    """Returns a key in lower case, with underscores."""
    return re.sub(r"[ -]", "_", key.lower())


def _value(raw: str) -> str:
    """Returns the value without its quotes, in ISO form if it is entirely a date."""
    quoted = len(raw) > 1 and raw[0] == raw[-1] and raw[0] in _QUOTES
    value = raw[1:-1] if quoted else raw
    for form in _DATES:
        try:
            return datetime.strptime(value, form).date().isoformat()  # noqa: DTZ007 - a day has no zone
        except ValueError:
            continue
    return value
