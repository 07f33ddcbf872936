"""Documents from the web: their addresses, and what reads them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from rag.errors import RagError, ReadError
from rag.privacy.redaction import masked
from rag.records import Submission
from rag.text.uris import document_id

if TYPE_CHECKING:
    from ingest.sources.fetch import Fetcher
    from rag.protocols import Reader
    from rag.types import Document


def is_url(text: str) -> bool:
    """True if it is meant as the address of something on the web."""
    return text.lower().startswith(("http://", "https://"))


def parse_url(text: str) -> httpx.URL:
    """Parses an address that can be fetched.

    Raises:
        ReadError: It cannot be fetched; the message repeats no password.
    """
    name = "A URL" if "@" in text else masked(text)
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as error:
        raise ReadError(f"{name}: is not a valid URL.", code="invalid_url") from error
    if url.userinfo:
        raise ReadError(
            f"The URL at {url.host} holds a user name or a password, which would be stored and"
            " shown. Leave it out. If the page needs a login, download it and ingest the file.",
            code="invalid_url",
        )
    if url.scheme not in ("http", "https") or not url.host:
        raise ReadError(
            f"{name}: cannot be fetched: a URL begins with http:// or https:// and names a host.",
            code="invalid_url",
        )
    return url


def submission_of_url(url: str, key: str, *, own_id: str | None = None) -> Submission:
    """Returns a submission that is fetched by its task; `key` is a new one of the spool.

    Raises:
        ReadError: It is no URL that can be fetched.
    """
    parse_url(url)
    return Submission(
        document_id=own_id or document_id(url),
        uri=url,
        source={"url": url, "spool": key, "own_id": own_id is not None},
    )


class WebReader:
    """Fetches a URL and has it read like any file; passes other sources on."""

    def __init__(self, reader: Reader, fetcher: Callable[[], Fetcher]) -> None:
        """Makes the reader; `fetcher` makes its fetcher at the first URL."""
        self._reader = reader
        self._make_fetcher = fetcher

    @cached_property
    def _fetcher(self) -> Fetcher:
        return self._make_fetcher()

    async def read(self, source: Mapping[str, Any], path: Path, *, id_: str, uri: str) -> Document:
        """Reads a document; see `Reader.read`.

        Raises:
            ReadError: The document cannot be fetched or read.
            UpstreamError: The document cannot be fetched now.
            StorageError: The disk is full.
        """
        if "url" in source:
            try:
                source = {**source, "name": await self._fetcher.fetch(source["url"], path)}
            except RagError:
                await asyncio.to_thread(
                    path.unlink, missing_ok=True
                )  # half of it is of no use to the next attempt
                raise
        return await self._reader.read(source, path, id_=id_, uri=uri)
