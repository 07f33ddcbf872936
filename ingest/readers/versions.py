"""The versions of the readers: a document that an older one read may read better today."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from ingest.readers import media_types

_CHANGED_ONCE = (
    media_types.HTML, media_types.MARKDOWN, media_types.RST, media_types.CSV, media_types.PDF,
    media_types.DOCX, media_types.PPTX, media_types.XLSX, media_types.XLS, media_types.ODT,
    media_types.ODS, media_types.ODP, media_types.RTF, media_types.MAIL, media_types.MBOX,
)  # fmt: skip
_NUMBERS = dict.fromkeys(_CHANGED_ONCE, 2) | {
    media_types.DOCX: 3, media_types.MAIL: 3, media_types.MBOX: 3, media_types.MSG: 2,
}  # fmt: skip
"""To be raised with each change of a reader that changes a document's text or tables."""
READERS: Mapping[str, str] = MappingProxyType(
    {media_type: f"read:{media_type}@{number}" for media_type, number in _NUMBERS.items()}
)
"""By media type, the end of the recipe of a document that today's reader read; other readers are as
they were when documents were stored first."""
_READER = re.compile(r" (read:\S+)$")


def recipe(base: str, media_type: str) -> str:
    """Returns how a document becomes chunks, from today's reader on."""
    return " ".join(filter(None, (base, READERS.get(media_type))))


def recipe_again(base: str, before: str) -> str:
    """Returns how a stored text becomes chunks: it stays the one of the reader that read it."""
    reader = _READER.search(before)
    return f"{base} {reader[1]}" if reader else base
