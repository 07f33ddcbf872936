"""A document's text as a response, of any length."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from hashlib import sha256
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

PIECE = 256 << 10
"""Bytes written at once: other requests are served between two pieces."""
OPENAPI: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file as it was sent, or the text in UTF-8.",
        "content": {
            "text/plain": {"schema": {"type": "string"}},
            "*/*": {"schema": {"type": "string", "format": "binary"}},
        },
        "headers": {
            "ETag": {"description": "Names this content.", "schema": {"type": "string"}},
        },
    },
    206: {"description": "The ranges of the file that `Range` names."},
    304: {"description": "The content is the one that `If-None-Match` names."},
    416: {"description": "`Range` names bytes behind the end of the file."},
}


async def response(request: Request, text: bytes) -> Response:
    """Returns the text with its length and an ETag, or 304 without a text if the caller has it."""
    digest = await asyncio.to_thread(sha256, text)
    headers = {"ETag": f'"{digest.hexdigest()}"', "X-Content-Type-Options": "nosniff"}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return StreamingResponse(
        _pieces(text),
        media_type="text/plain; charset=utf-8",
        headers=headers | {"Content-Length": str(len(text))},
    )


async def _pieces(text: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(text), PIECE):
        yield text[start : start + PIECE]
