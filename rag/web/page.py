"""The page at `/` and its files, which `npm run build` in `clients/` writes into `static/`."""

from __future__ import annotations

import asyncio
import gzip
import mimetypes
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

STATIC = Path(__file__).parent / "static"
FOLDERS = ("/assets", "/pdfjs")
"""Paths below which the files of the page are. A name in `/assets` changes with its content."""
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "font-src 'self'",
        "connect-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_GUARDS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_KEPT = "public, max-age=31536000, immutable"
_ASKED_FOR = "no-cache"
_TYPES = {".mjs": "text/javascript", ".js": "text/javascript", ".bcmap": "application/octet-stream"}
_FILES = 300
"""Files that are held in memory: all that there are, some 4 MB. A name without a file counts."""


@dataclass(frozen=True, slots=True)
class _File:
    """A file of the page, as it is and compressed."""

    content: bytes
    compressed: bytes
    media_type: str
    etag: str


async def response(request: Request) -> Response:
    """Returns a file of the page; 304 if the caller has it, 404 if there is none."""
    path: str = request.scope["path"]
    found = await asyncio.to_thread(_load, path.removeprefix("/") or "index.html")
    if found is None:
        return Response("There is no such file.", status_code=404, media_type="text/plain")
    headers = {
        **_GUARDS,
        "ETag": found.etag,
        "Vary": "Accept-Encoding",
        "Cache-Control": _KEPT if path.startswith("/assets/") else _ASKED_FOR,
    }
    if found.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    content = found.content
    if _takes_gzip(request.headers) and len(found.compressed) < len(content):
        content, headers["Content-Encoding"] = found.compressed, "gzip"
    return Response(content, headers=headers, media_type=found.media_type)


@lru_cache(maxsize=_FILES)
def _load(name: str) -> _File | None:
    path = (STATIC / name).resolve()
    if not path.is_relative_to(STATIC.resolve()) or not path.is_file():
        return None
    content = path.read_bytes()
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    return _File(
        content=content,
        compressed=gzip.compress(content, mtime=0),
        media_type=kind or "application/octet-stream",
        etag=f'"{sha256(content).hexdigest()[:32]}"',
    )


def _takes_gzip(headers: Headers) -> bool:
    return any(
        coding.partition(";")[0].strip() == "gzip"
        for coding in headers.get("accept-encoding", "").split(",")
    )
