"""Fetches documents from the web when their task runs, within limits, from public addresses."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncGenerator, Callable
from functools import cached_property
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import httpcore
import httpx

import rag
from ingest.readers.decoding import clean
from ingest.readers.media_types import MEDIA_TYPES, TEXT, essence
from ingest.sources.addresses import Address, is_public
from ingest.sources.checked_network import CheckedNetwork
from ingest.sources.web import parse_url
from rag.errors import ReadError, StorageError, UpstreamError
from rag.privacy.redaction import words

if TYPE_CHECKING:
    import ssl

REDIRECTS = 5
_PIECE = 1 << 16
_MOVED = frozenset({301, 302, 303, 307, 308})
_TEMPORARY = frozenset({408, 425, 429})
# Without a `traceparent`: the servers of pages are not part of our traces.
_HEADERS = [
    ("User-Agent", f"Plumbline/{rag.__version__} (reads documents for search)"),
    ("Accept", "*/*"),
    ("Accept-Encoding", "gzip"),
]
_SUFFIXES = {
    media: suffix for suffix, media in reversed(list(MEDIA_TYPES.items())) if media != TEXT
}
_FAILURES = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException)


class Fetcher:
    """Fetches URLs: without cookies, logins or proxies, from allowed addresses."""

    def __init__(
        self,
        *,
        max_bytes: int,
        seconds: float,
        allows: Callable[[Address], bool] = is_public,
    ) -> None:
        """Make a fetcher; nothing is connected yet.

        Args:
            max_bytes: largest size of a body, after gzip is undone.
            seconds: time limit for the whole fetch, redirects included.
            allows: True if an address may be connected to.
        """
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._network = CheckedNetwork(allows, setting="fetch.private_addresses")

    async def fetch(self, url: str, to: Path) -> str:
        """Writes the body to a file; returns a name for it, whose extension shows its type.

        Raises:
            ReadError: There is no such document, it is too large, or its address is refused.
            UpstreamError: The server or the connection fails; a later attempt may succeed.
            StorageError: The disk is full.
        """
        address = parse_url(url)
        try:
            async with asyncio.timeout(self._seconds):
                return await self._follow(address, to)
        except TimeoutError as error:
            raise UpstreamError(
                f"{_without_query(address)}: did not come within {self._seconds:g} s. Ingest it"
                " again later, or raise the setting fetch.seconds.",
                code="fetch_timeout",
            ) from error
        except _FAILURES as error:
            raise UpstreamError(
                f"{_without_query(address)}: cannot be fetched: {words(error)}."
                " Check the address, or ingest it again later.",
                code="fetch_failed",
            ) from error

    async def _follow(self, url: httpx.URL, to: Path) -> str:
        first = _without_query(url)
        async with httpcore.AsyncConnectionPool(
            ssl_context=self._ssl, network_backend=self._network
        ) as pool:
            for _ in range(REDIRECTS + 1):
                target = httpcore.URL(
                    scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                )
                async with pool.stream("GET", target, headers=_HEADERS) as response:
                    location = _header(response, b"location")
                    if response.status in _MOVED and location:
                        url = _joined(url, location)
                        continue
                    _check_status(response.status, _without_query(url))
                    await self._save(response, to, _without_query(url))
                    return _name(url, _header(response, b"content-type"))
        raise ReadError(
            f"{first}: is redirected more than {REDIRECTS} times. Name the address it ends at.",
            code="too_many_redirects",
        )

    async def _save(self, response: httpcore.Response, to: Path, name: str) -> None:
        size = 0
        try:
            await asyncio.to_thread(to.parent.mkdir, parents=True, exist_ok=True)
            with await asyncio.to_thread(to.open, "wb") as file:
                async with contextlib.aclosing(_body(response, name)) as pieces:
                    async for piece in pieces:
                        size += len(piece)
                        self._check_size(size, name)
                        file.write(piece)
        except OSError as error:
            raise StorageError(
                f"{name}: cannot be kept in {to.parent}: {error.strerror}. Free some space and"
                " ingest it again.",
                code="disk_full",
            ) from error

    def _check_size(self, size: int, name: str) -> None:
        if size > self._max_bytes:
            raise ReadError(
                f"{name}: over the limit of {self._max_bytes >> 20} MiB for one document. Raise the"
                " setting limits.file_mb.",
                code="too_large",
            )

    @cached_property
    def _ssl(self) -> ssl.SSLContext:
        return httpcore.default_ssl_context()  # reads files: not before the first document


def _joined(url: httpx.URL, location: str) -> httpx.URL:
    try:
        return parse_url(str(url.join(location)))
    except (httpx.InvalidURL, ValueError) as error:
        raise ReadError(
            f"{_without_query(url)}: redirects to an invalid URL.", code="invalid_url"
        ) from error


def _check_status(status: int, name: str) -> None:
    if status == HTTPStatus.OK:
        return
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
    status_line = f"{name}: the server answered {status} {phrase}".rstrip()
    if status in _TEMPORARY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise UpstreamError(f"{status_line}. Ingest it again later.", code="fetch_failed")
    raise ReadError(
        f"{status_line}. Check the address. If it needs a login, download it first and ingest the"
        " file.",
        code="http_status",
    )


async def _body(response: httpcore.Response, name: str) -> AsyncGenerator[bytes, None]:
    encoding = _header(response, b"content-encoding").lower()
    if encoding in ("", "identity"):
        async for part in response.aiter_stream():
            yield part
        return
    if encoding != "gzip":
        raise ReadError(
            f"{name}: comes packed as {encoding[:20]!r}, which was not asked for. Download it and"
            " ingest the file.",
            code="unsupported_encoding",
        )
    gzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    async for part in response.aiter_stream():
        packed = part
        while packed and not gzip.eof:
            try:
                yield gzip.decompress(packed, _PIECE)  # a bomb is noticed in time
            except zlib.error as error:
                raise httpcore.RemoteProtocolError(f"its gzip is damaged ({error})") from error
            packed = gzip.unconsumed_tail
    if not gzip.eof:
        raise httpcore.RemoteProtocolError("its gzip is cut short")


def _name(url: httpx.URL, content_type: str) -> str:
    """Returns the last part of the path; if it lacks an extension, the Content-Type gives one."""
    name = clean(PurePosixPath(url.path).name) or url.host
    if PurePosixPath(name).suffix.lower() in MEDIA_TYPES:
        return name
    return name + _SUFFIXES.get(essence(content_type), "")


def _header(response: httpcore.Response, name: bytes) -> str:
    values = (value for key, value in response.headers if key.lower() == name)
    return next(values, b"").decode("latin-1").strip()


def _without_query(url: httpx.URL) -> str:
    """Returns the URL for messages: without the query, in which keys may be."""
    return str(url.copy_with(query=None, fragment=None))
