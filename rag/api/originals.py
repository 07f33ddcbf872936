"""A document's original file as a response that no browser runs as a page of this service."""

from __future__ import annotations

import asyncio
import codecs
import re
from pathlib import Path
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from ingest.readers.media_types import JPEG, MEDIA_TYPES, PDF, PNG, TEXT
from rag.errors import NotFoundError
from rag.records import DocumentRecord
from rag.text.uris import last_part

SHOWN = frozenset({PDF, PNG, JPEG, TEXT, "text/markdown", "text/x-rst", "text/csv"})
"""Media types that a browser may show: it runs nothing that they hold. Others are saved."""
HEAD_BYTES = 1 << 16
"""Bytes of a text that show whether it is UTF-8."""
NAME_CHARS = 150
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9.+-]*/[a-z0-9][a-z0-9.+-]*")
_UNNAMEABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff/\\\\\"<>|?*:]+")
_SUFFIXES = {media: suffix for suffix, media in reversed(list(MEDIA_TYPES.items()))}


async def response(request: Request, path: Path, record: DocumentRecord) -> Response:
    """Returns the file, or the ranges of it that the request asks for; 304 if the caller has it.

    Raises:
        NotFoundError: The file is gone.
    """
    etag = f'"{record.version}"'
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers={"ETag": etag})
    try:
        stat = await asyncio.to_thread(path.stat)
        media_type = await asyncio.to_thread(_media_type, path, record.media_type)
    except FileNotFoundError as error:
        raise NotFoundError(
            f"The original of the document {record.id!r} is gone. Its text is there: ask with"
            " ?as=text, or ingest the document again.",
            code="no_original",
        ) from error
    return FileResponse(
        path,
        headers={"Content-Type": media_type, "ETag": etag, **_guards(record.media_type)},
        filename=_file_name(record),
        stat_result=stat,
        content_disposition_type="inline" if record.media_type in SHOWN else "attachment",
    )


def _guards(media_type: str) -> dict[str, str]:
    """Returns the headers that keep a browser from running the file."""
    guards = {
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "private, no-cache",
    }
    if media_type != PDF:  # browsers show none in a sandbox
        guards["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return guards


def _media_type(path: Path, media_type: str) -> str:
    """Returns the value of Content-Type; a text's charset is named if it is UTF-8."""
    if not _MEDIA_TYPE.fullmatch(media_type):
        return "application/octet-stream"
    if not media_type.startswith("text/"):
        return media_type
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return media_type
    return f"{media_type}; charset=utf-8"


def _file_name(record: DocumentRecord) -> str:
    """Returns a name to save the file by: the end of its uri, with an extension."""
    end = last_part(record.uri).partition("?")[0].partition("#")[0]
    name = _UNNAMEABLE.sub("_", unquote(end).removeprefix("upload:")).strip(". ")[-NAME_CHARS:]
    named = MEDIA_TYPES.get(Path(name).suffix.lower())
    suffix = "" if named == record.media_type else _SUFFIXES.get(record.media_type, "")
    return (name or "document") + suffix
