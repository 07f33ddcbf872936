"""Reads the date and the family of a document from its name."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote

from rag.text.dates import DATE, YEAR, date_forms
from rag.types import Chunk

_KNOWN = 2048
"""Documents and passages whose dates are kept: many questions find the same ones."""
_BEGINNING = 400
"""Characters of a passage in which a date is looked for."""
_MARK = re.compile(
    r"(?<!\d)((?:19|20)\d\d)(?:[-_.]?(0[1-9]|1[0-2])(?:[-_.]?([0-2]\d|3[01]))?)?(?!\d)"
)
_PLAIN = re.compile(r"[^\W\d_]{3,}")
_VERSION_WORDS = frozenset(
    ["version", "rev", "revision", "draft", "final", "copy", "new", "old", "neu", "alt", "entwurf"]
)
_DAY, _YEAR_OF_DAY = re.compile(DATE), re.compile(YEAR)


def date_of(chunk: Chunk) -> str:
    """Returns the date in the document's name or title, or the first day in the passage."""
    return _date_of(chunk.uri, chunk.title, chunk.headings, chunk.text[:_BEGINNING])


@lru_cache(maxsize=_KNOWN)
def _date_of(uri: str, title: str, headings: tuple[str, ...], beginning: str) -> str:
    name = unquote(uri.rsplit("/", 1)[-1])
    for text in (name, title, *headings):
        if found := _MARK.search(text):
            return "-".join(filter(None, found.groups()))
    if not _YEAR_OF_DAY.search(beginning):
        return ""
    for found in _DAY.finditer(beginning):
        whole, *more = date_forms(found[0])
        if more:
            return f"{whole[1:5]}-{whole[5:7]}-{whole[7:9]}"
    return ""


def family_of(chunk: Chunk) -> tuple[str, ...]:
    """Returns the words of the document's name that all of its editions share."""
    return _family_of(chunk.uri, chunk.title)


@lru_cache(maxsize=_KNOWN)
def _family_of(uri: str, title: str) -> tuple[str, ...]:
    name = unquote(uri.rsplit("/", 1)[-1]).rsplit(".", 1)[0]
    words = tuple(w.lower() for w in _PLAIN.findall(name) if w.lower() not in _VERSION_WORDS)
    return words or tuple(w.lower() for w in _PLAIN.findall(title))
