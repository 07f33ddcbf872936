"""Clients of a server, for the commands."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import AsyncIterator, Iterator

import httpx

from rag.client import AsyncClient, Retries, errors
from rag.errors import InputError, UpstreamError
from rag.privacy.redaction import masked

KEY = "RAG_API_KEY"
"""The environment variable with the key for servers."""
PAGE = 1000
"""Documents of a page of a listing."""
_RETRIES = Retries(reconnects=0)
"""A server that is not there is reported at once: the URL may be wrong."""


@contextlib.asynccontextmanager
async def connect(url: str) -> AsyncIterator[AsyncClient]:
    """Yields a client of the server at `url`; it sends the key of the environment, if any.

    Raises:
        InputError: The URL or the key is none, or the server refuses a request of the block.
        UpstreamError: The server fails, or does not answer.
    """
    key = _key()
    try:
        client = AsyncClient(url, key=key, retries=_RETRIES)
    except (httpx.InvalidURL, ValueError) as error:
        raise InputError(f"--url {masked(url)!r} is no URL.") from error
    async with client:
        if client.http.base_url.scheme not in ("http", "https"):
            raise InputError(
                f"--url {masked(url)!r} is no URL: it starts with http:// or https://."
            )
        with own_errors():
            yield client


@contextlib.contextmanager
def own_errors() -> Iterator[None]:
    """Raises the errors of the client in the block as those of the commands."""
    try:
        yield
    except errors.PlumblineError as error:
        kind = InputError if isinstance(error, errors.InputError) else UpstreamError
        raise kind(str(error), code=error.code) from error


def _key() -> str | None:
    key = os.environ.get(KEY, "").strip()
    if not re.fullmatch(r"[\x21-\x7e]*", key):
        raise InputError(f"{KEY} is no key: it has blanks, or characters beyond ASCII.")
    return key or None
